package supervisor

import (
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// supervisorName is this process among the others.
const supervisorName = "supervisor"

// The metrics of processes, those whose names Prometheus' client libraries have
// in common included.
var (
	upDesc = processDesc("registry_cache_process_up",
		"Whether the process does its work (1) or is starting, pausing before a restart, or draining (0).")
	restartsDesc = processDesc("registry_cache_process_restarts_total",
		"How often the process ended by itself and was started again.")

	cpuDesc      = processDesc("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")
	residentDesc = processDesc("process_resident_memory_bytes", "Resident memory size in bytes.")
	openDesc     = processDesc("process_open_fds", "Number of open file descriptors.")
	maxOpenDesc  = processDesc("process_max_fds", "Maximum number of open file descriptors.")
	startDesc    = processDesc("process_start_time_seconds", "Start time of the process since unix epoch in seconds.")
)

func processDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, []string{"process"}, nil)
}

// processMetrics are the metrics about this process and those of list. They are
// taken from the system, here for all, since that costs each process less memory
// than to tell of itself, and says something also of one that can't.
type processMetrics struct {
	list  func() []*process
	began time.Time // of this process
}

func (processMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upDesc, restartsDesc, cpuDesc, residentDesc, openDesc, maxOpenDesc, startDesc} {
		ch <- d
	}
}

func (m processMetrics) Collect(ch chan<- prometheus.Metric) {
	used(ch, supervisorName, os.Getpid(), m.began)
	for _, p := range m.list() {
		status, up := p.report(), 0.0
		if status.State == Ready {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, up, status.Name)
		ch <- prometheus.MustNewConstMetric(restartsDesc, prometheus.CounterValue, float64(status.Restarts), status.Name)
		if status.PID != 0 {
			used(ch, status.Name, status.PID, status.Since)
		}
	}
}

// used is what a process uses. What can't be told, of one that just ended, is
// left out.
func used(ch chan<- prometheus.Metric, name string, pid int, began time.Time) {
	ch <- prometheus.MustNewConstMetric(startDesc, prometheus.GaugeValue, float64(began.UnixMilli())/1e3, name)
	p, err := procfs.NewProc(pid)
	if err != nil {
		return
	}
	if stat, err := p.Stat(); err == nil {
		ch <- prometheus.MustNewConstMetric(cpuDesc, prometheus.CounterValue, stat.CPUTime(), name)
		ch <- prometheus.MustNewConstMetric(residentDesc, prometheus.GaugeValue, float64(stat.ResidentMemory()), name)
	}
	if open, err := p.FileDescriptorsLen(); err == nil {
		ch <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(open), name)
	}
	var limit unix.Rlimit
	if unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit) == nil {
		ch <- prometheus.MustNewConstMetric(maxOpenDesc, prometheus.GaugeValue, float64(limit.Cur), name)
	}
}

// resident is the memory of a process in bytes, 0 if it just ended.
func resident(pid int) int64 {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	stat, err := p.Stat()
	if err != nil {
		return 0
	}
	return int64(stat.ResidentMemory())
}
