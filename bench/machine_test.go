package bench

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// describeMachine says where and with what the figures were measured.
func describeMachine() string {
	lines := []string{
		"when: " + time.Now().UTC().Format("2006-01-02 15:04 MST") + ", load average " + loadAverage() + " before the start",
		fmt.Sprintf("command: `make bench ROUNDS=%d GIANT=%s BLOBS=%d`", *rounds, strings.ReplaceAll(humanize.IBytes(uint64(giant)), " ", ""), *blobs),
		"machine: " + processor() + ", " + memorySize() + ", Linux " + release() + ", " + fileSystem(os.TempDir()),
		"contestants: " + strings.Join([]string{
			"registry-cache " + ownVersion() + " built with " + runtime.Version(),
			"nginx " + version("nginx", "-v"),
			"haproxy " + version("haproxy", "-v"),
			"docker-registry " + version("docker-registry", "--version"),
		}, ", "),
	}
	return "\n- " + strings.Join(lines, "\n- ") + "\n"
}

func loadAverage() string {
	raw, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(raw) + " ? ? ?")[:3], " ")
}

func processor() string {
	model := "unknown processor"
	if fs, err := procfs.NewDefaultFS(); err == nil {
		if info, err := fs.CPUInfo(); err == nil && len(info) > 0 && info[0].ModelName != "" {
			model = info[0].ModelName
		}
	}
	return fmt.Sprintf("%s, %d cores", model, runtime.NumCPU())
}

func memorySize() string {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return "unknown memory"
	}
	return humanize.IBytes(info.Totalram * uint64(info.Unit))
}

func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "?"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// fileSystem is the kind that the stores lie on.
func fileSystem(dir string) string {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return "unknown file system"
	}
	switch stat.Type {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	}
	return fmt.Sprintf("file system %#x", stat.Type)
}

// ownVersion is the tree's, or what a given binary says of itself.
func ownVersion() string {
	program, args := "git", []string{"describe", "--tags", "--always", "--dirty"}
	if *binary != "" {
		program, args = *binary, []string{"version"}
	}
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return "(version unknown)"
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "registry-cache ")
}

var versionNumber = regexp.MustCompile(`\d+\.\d+[^\s,]*`)

// version is the first thing that looks like one in what a program says.
func version(program string, args ...string) string {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return "(not installed)"
	}
	if number := versionNumber.FindString(string(out)); number != "" {
		return number
	}
	return strings.TrimSpace(string(out))
}
