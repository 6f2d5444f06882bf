package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"registrycache/deploy/client"
)

// clientPullSecret never takes the password from the command line, where every
// user of the machine could read it.
func clientPullSecret(cmd *cobra.Command) clientMaker {
	var username, file, merge string
	var stdin bool
	flags := cmd.Flags()
	flags.StringVarP(&username, "username", "u", "", "the user's name")
	flags.BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	flags.StringVar(&file, "password-file", "", "read the password from this file")
	flags.StringVar(&merge, "merge", "", "an auth file whose content is kept")
	cmd.MarkFlagsMutuallyExclusive("password-stdin", "password-file")
	return func(r *clientRequest) ([]client.File, error) {
		if username == "" {
			return nil, errors.New("--username is missing")
		}
		if r.cfg.Auth.Type == "" {
			r.note("REGISTRY_AUTH is not set here; a cache without it asks nobody for a password")
		}
		var existing []byte
		if merge != "" {
			var err error
			if existing, err = os.ReadFile(merge); err != nil {
				return nil, fmt.Errorf("--merge: %w", err)
			}
		}
		password, err := readPassword(cmd, stdin, file)
		if err != nil {
			return nil, err
		}
		files, err := client.PullSecret(r.cache, username, password, existing)
		if err != nil && merge != "" {
			return nil, fmt.Errorf("%s: %w", merge, err)
		}
		return files, err
	}
}

// maxPassword bounds what is read for a password; bcrypt looks at 72 bytes.
const maxPassword = 4096

func readPassword(cmd *cobra.Command, stdin bool, file string) (string, error) {
	in := cmd.InOrStdin()
	switch {
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("--password-file: %w", err)
		}
		defer f.Close()
		in = f
	case !stdin:
		terminal, ok := in.(*os.File)
		if !ok || !isTerminal(terminal) {
			return "", errors.New("no terminal to ask for the password; give --password-stdin or --password-file")
		}
		return askPassword(cmd.Context(), terminal, cmd.ErrOrStderr())
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("the password can't be read: %w", err)
	}
	password := strings.TrimRight(string(raw), "\r\n")
	switch {
	case len(raw) > maxPassword:
		return "", fmt.Errorf("the password is longer than %d bytes", maxPassword)
	case strings.ContainsAny(password, "\r\n"):
		return "", errors.New("the password has more than one line")
	}
	return password, nil
}

// askPassword reads a line from a terminal that does not show it. Ctrl-C leaves
// the terminal as it was.
func askPassword(ctx context.Context, terminal *os.File, prompt io.Writer) (string, error) {
	fd := int(terminal.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", err
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &silent); err != nil {
		return "", err
	}
	defer func() {
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, before)
		_, _ = fmt.Fprintln(prompt)
	}()
	_, _ = fmt.Fprint(prompt, "Password: ")
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	go func() {
		// In canonical mode the kernel gives one whole line.
		buf := make([]byte, maxPassword)
		n, err := terminal.Read(buf)
		read <- line{strings.TrimRight(string(buf[:n]), "\r\n"), err}
	}()
	select {
	case l := <-read:
		if l.err != nil {
			return "", fmt.Errorf("the password can't be read: %w", l.err)
		}
		return l.text, nil
	case <-ctx.Done():
		return "", errors.New("interrupted")
	}
}
