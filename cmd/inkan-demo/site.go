package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// The web site of the demo is a process of its own: this program once more,
// called with siteCommand and the directory of the certificate.

const siteCommand = "serve-site"

// serveSite is that process. It serves HTTPS with the files in dir, reads them
// again at SIGHUP, and ends when its standard input does.
func serveSite(dir string, stdin io.Reader, stdout, stderr io.Writer) int {
	signal.Ignore(os.Interrupt) // a Ctrl-C is meant for the demo, which then ends us
	var current atomic.Pointer[tls.Certificate]
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	go func() {
		for range reload {
			if cert, err := loadPair(dir); err != nil {
				fmt.Fprintln(stderr, "web site:", err) // and serves what it has
			} else {
				current.Store(cert)
			}
		}
	}()
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello from process %d\n", os.Getpid())
		}),
		TLSConfig: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if cert := current.Load(); cert != nil {
				return cert, nil
			}
			return nil, errors.New("there is no certificate yet")
		}},
		ErrorLog: discardLog(),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(stderr, "web site:", err)
		return 1
	}
	fmt.Fprintln(stdout, l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // until the demo ends, however it ends
		_ = server.Close()
	}()
	if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(stderr, "web site:", err)
		return 1
	}
	return 0
}

// loadPair reads certificate and key through one handle of the directory, so
// that they are of one version even while inkan switches to the next.
func loadPair(dir string) (*tls.Certificate, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	chain, err := root.ReadFile("fullchain.pem")
	if err != nil {
		return nil, err
	}
	key, err := root.ReadFile("privkey.pem")
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(chain, key)
	return &cert, err
}

// site is the process as the demo sees it.
type site struct {
	cmd   *exec.Cmd
	stdin io.Closer
	addr  string
}

// startSite starts the process and waits until it listens.
func startSite(ctx context.Context, dir string) (_ *site, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &site{cmd: exec.Command(self, siteCommand, dir)}
	s.cmd.Stderr = os.Stderr
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.stdin = stdin
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = stdin.Close() }) // ends the wait for the line
	defer stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the web site does not start: %w", err), s.stop())
	}
	s.addr = strings.TrimSpace(line)
	return s, nil
}

func (s *site) pid() int { return s.cmd.Process.Pid }

// stop ends the process.
func (s *site) stop() error {
	_ = s.stdin.Close()
	return s.cmd.Wait()
}
