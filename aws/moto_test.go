package aws_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/aws"
	"github.com/inkan-acme/inkan/internal/testaws"
	"github.com/inkan-acme/inkan/internal/testport"
)

// TestRoute53Moto asks for a second opinion: moto's Route 53 was written by
// others. It is lax, with no pace, no PENDING and a CREATE that it refuses only
// if the very same one was sent before; but it reads what we write.
func TestRoute53Moto(t *testing.T) {
	if os.Getenv("INKAN_LONG") == "" {
		t.Skip("moto takes several seconds to start: INKAN_LONG=1")
	}
	program, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("SKIPPED: the second opinion on Route 53: moto_server is not installed (pip install 'moto[server]')")
	}
	isolate(t)
	addr := testport.Addr(testport.For(t))
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(program, "-H", host, "-p", port)
	server.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	endpoint := "http://" + addr
	c := route53.New(route53.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(testaws.AccessKey, testaws.SecretKey, ""),
	})
	zone, err := c.CreateHostedZone(ctx, &route53.CreateHostedZoneInput{Name: awssdk.String(apex), CallerReference: awssdk.String("1")})
	if err != nil {
		t.Fatal(err)
	}
	values := func(name string) (list []string) {
		out, err := c.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{HostedZoneId: zone.HostedZone.Id, StartRecordName: &name, StartRecordType: types.RRTypeTxt})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range out.ResourceRecordSets {
			if awssdk.ToString(s.Name) == name && s.Type == types.RRTypeTxt {
				for _, r := range s.ResourceRecords {
					list = append(list, testaws.Unquoted(*r.Value))
				}
			}
		}
		slices.Sort(list)
		return list
	}
	p := openRoute53(t, quick(), aws.Route53Config{Endpoint: endpoint, Account: account()})
	records := txt(20, "base", "wildcard")
	if err := p.AddTXT(ctx, apex, records); err != nil {
		t.Fatal(err)
	}
	if got := values(records[0].Name); !slices.Equal(got, []string{"base", "wildcard"}) {
		t.Fatalf("there are %q", got)
	}
	for _, call := range []func(context.Context, string, []inkan.TXT) error{p.(inkan.DNSWaiter).Wait, p.RemoveTXT} {
		if err := call(ctx, apex, records); err != nil {
			t.Fatal(err)
		}
	}
	if got := values(records[39].Name); len(got) != 0 {
		t.Errorf("%q is left", got)
	}
}
