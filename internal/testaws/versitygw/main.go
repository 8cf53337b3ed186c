// Command versitygw is the S3 server that the tests of aws/ talk to: the S3
// front and the POSIX backend of github.com/versity/versitygw over a directory.
// It has a module of its own, so that the project itself does not depend on
// the gateway. What the stock program has besides (Azure, its own accounts,
// a web page) is left out, because building it takes the longer part of two
// minutes.
//
//	versitygw ADDRESS DIRECTORY [BUCKET...]
//
// Everybody may read the objects of the buckets named. // The access key and its secret are both "inkan-test", the region is
// us-east-1. It ends when its standard input does, so that no server outlives
// the test that started it.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/gofiber/fiber/v3"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3api"
	"github.com/versity/versitygw/s3api/middlewares"
)

const (
	region = "us-east-1"
	secret = "inkan-test"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: versitygw ADDRESS DIRECTORY [BUCKET...]")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "versitygw:", err)
		os.Exit(1)
	}
}

// alone lets a DELETE run by itself. versitygw 1.8.0 compares and replaces
// under a lock that its DELETE does not take, so a conditional PUT that began
// before the DELETE can bring the object back. Amazon's answers 404 or 409.
func alone() fiber.Handler {
	var mu sync.RWMutex
	return func(c fiber.Ctx) error {
		if c.Method() == fiber.MethodDelete {
			mu.Lock()
			defer mu.Unlock()
		} else {
			mu.RLock()
			defer mu.RUnlock()
		}
		return c.Next()
	}
}

func serve(address, dir string, public []string) error {
	objects := filepath.Join(dir, "objects")
	if err := os.MkdirAll(objects, 0o700); err != nil {
		return err
	}
	opts := posix.PosixOpts{}
	var attributes meta.MetadataStorer = meta.XattrMeta{}
	if err := (meta.XattrMeta{}).Test(objects); err != nil {
		// A file system without extended attributes.
		opts.SideCarDir = filepath.Join(dir, "attributes")
		if err := os.MkdirAll(opts.SideCarDir, 0o700); err != nil {
			return err
		}
		if attributes, err = meta.NewSideCar(opts.SideCarDir); err != nil {
			return err
		}
	}
	backend, err := posix.New(objects, attributes, opts)
	if err != nil {
		return err
	}
	defer backend.Shutdown()
	for _, bucket := range public {
		policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::%s/*"}]}`, bucket)
		if err := backend.PutBucketPolicy(context.Background(), bucket, []byte(policy)); err != nil {
			return fmt.Errorf("policy of %s: %w", bucket, err)
		}
	}
	root := auth.Account{Access: secret, Secret: secret, Role: auth.RoleAdmin}
	server, err := s3api.New(backend, middlewares.RootUserConfig{Access: secret, Secret: secret}, region,
		auth.NewIAMServiceSingle(root), nil, nil, nil, nil,
		s3api.WithQuiet(), s3api.WithKeepAlive(), s3api.WithConcurrencyLimiter(4096, 4096),
		s3api.WithMiddleware("/", alone()))
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.ShutDown()
	}()
	return server.ServeMultiPort([]string{address})
}
