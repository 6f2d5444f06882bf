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

// loginFlags are how a login is given. They never take the password from the
// command line, where every user of the machine could read it.
type loginFlags struct {
	username, file string
	stdin          bool
}

func addLoginFlags(cmd *cobra.Command) *loginFlags {
	l := &loginFlags{}
	flags := cmd.Flags()
	flags.StringVarP(&l.username, "username", "u", "", "the user's name")
	flags.BoolVar(&l.stdin, "password-stdin", false, "read the password from standard input")
	flags.StringVar(&l.file, "password-file", "", "read the password from this file")
	cmd.MarkFlagsMutuallyExclusive("password-stdin", "password-file")
	return l
}

// given says whether any of the flags is set.
func (l *loginFlags) given() bool { return *l != loginFlags{} }

// read asks for what the flags leave open.
func (l *loginFlags) read(r *clientRequest) (client.Login, error) {
	if l.username == "" {
		return client.Login{}, errors.New("--username is missing")
	}
	if r.cfg.Auth.Type == "" {
		r.note("REGISTRY_AUTH is not set here; a cache without it asks nobody for a password")
	}
	password, err := readPassword(r.cmd, l.stdin, l.file)
	return client.Login{Username: l.username, Password: password}, err
}

func clientPullSecret(cmd *cobra.Command) clientMaker {
	flags := addLoginFlags(cmd)
	merge := cmd.Flags().String("merge", "", "an auth file whose content is kept")
	return func(r *clientRequest) ([]client.File, error) {
		var existing []byte
		if *merge != "" {
			var err error
			if existing, err = os.ReadFile(*merge); err != nil {
				return nil, fmt.Errorf("--merge: %w", err)
			}
		}
		login, err := flags.read(r)
		if err != nil {
			return nil, err
		}
		files, err := client.PullSecret(r.cache, login, existing)
		if err != nil && *merge != "" {
			return nil, fmt.Errorf("%s: %w", *merge, err)
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
