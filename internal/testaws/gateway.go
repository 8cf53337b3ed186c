package testaws

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/testport"
)

// Gateway is a running versitygw: a real S3 server over a temporary directory.
type Gateway struct {
	Endpoint string // http://127.0.0.1:PORT
	Dir      string // the objects, in a directory for each bucket
}

// gatewayBinary is built once for all tests of one process.
var gatewayBinary = sync.OnceValues(buildGateway)

// StartGateway starts versitygw with the buckets, until t ends; of one whose
// name begins with "public" everybody may read the objects. The program is
// built with Go's own cache: half a minute of two processors the first time,
// under a second after that. Its modules come from Go's module proxy; where
// that cannot be reached the test is skipped, and with CI set it fails.
func StartGateway(t testing.TB, buckets ...string) *Gateway {
	t.Helper()
	program, err := gatewayBinary()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: versitygw cannot be built: %v", err)
	}
	dir := t.TempDir()
	var public []string
	for _, bucket := range buckets {
		if strings.HasPrefix(bucket, "public") {
			public = append(public, bucket)
		}
		if err := os.MkdirAll(filepath.Join(dir, "objects", bucket), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	addr := testport.Addr(testport.For(t))
	server := exec.Command(program, append([]string{addr, dir}, public...)...)
	var output bytes.Buffer
	server.Stdout, server.Stderr = &output, &output
	stdin, err := server.StdinPipe() // closed when this process ends, and versitygw with it
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() {
		stdin.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = server.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("versitygw says:\n%s", output.Bytes())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("versitygw has ended: %v\n%s", err, output.Bytes())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("versitygw does not listen: %v", err)
		}
	}
	return &Gateway{Endpoint: "http://" + addr, Dir: filepath.Join(dir, "objects")}
}

// buildGateway compiles the nested module. Go's build cache keeps the result.
func buildGateway() (string, error) {
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("no source file to be found")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "inkan-tests")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	// Several test binaries may build at once: each under a name of its own.
	f, err := os.CreateTemp(cache, "versitygw-*")
	if err != nil {
		return "", err
	}
	temp := f.Name()
	defer os.Remove(temp)
	if err := f.Close(); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", temp, ".")
	build.Dir = filepath.Join(filepath.Dir(here), "versitygw")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	program := filepath.Join(cache, "versitygw")
	return program, os.Rename(temp, program)
}
