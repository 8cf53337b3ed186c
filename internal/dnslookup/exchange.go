package dnslookup

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

var (
	// errAgain: the same question over TCP may be answered better.
	errAgain = errors.New("the answer does not fit into a packet")
	// errForeign: the packet does not answer this question.
	errForeign = errors.New("it answered another question than ours")
)

// exchange sends one question over the network, "udp" or "tcp", and reads the
// answer to it. The id is random, and so is the case of the letters of the name
// (draft-vixie-dnsext-dns0x20), which an answer repeats: together with the
// random source port, a guess of what we asked is hopeless.
func exchange(ctx context.Context, network string, q Question) (*Answer, error) {
	query := newQuery(q)
	wire, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("the question cannot be asked: %w", err)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, q.Server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	if network == "tcp" {
		return overTCP(conn, query, wire, q)
	}
	return overUDP(ctx, conn, query, wire, q)
}

// overUDP sends the question again when a packet seems lost: networks lose
// some, and resolvers drop what they are asked too often at once.
func overUDP(ctx context.Context, conn net.Conn, query *dns.Msg, wire []byte, q Question) (*Answer, error) {
	buf := make([]byte, 64<<10) // some servers send more than they were asked to
	end, _ := ctx.Deadline()    // Ask sets one
	again, pause := time.Now(), firstResend
	for range maxWrong {
		if !time.Now().Before(again) {
			if _, err := conn.Write(wire); err != nil {
				return nil, err
			}
			again, pause = again.Add(pause), 2*pause
		}
		if again.Before(end) {
			conn.SetReadDeadline(again)
		} else {
			conn.SetReadDeadline(end)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err() // its end may have come before the deadline was set
		}
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) && again.Before(end) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		a, err := parse(query, q, buf[:n], false)
		switch {
		case errors.Is(err, errForeign): // somebody guesses, or an old answer
		case err != nil:
			return nil, errAgain
		default:
			return a, nil
		}
	}
	return nil, errAgain
}

func overTCP(conn net.Conn, query *dns.Msg, wire []byte, q Question) (*Answer, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(wire)), uint16(len(wire)))
	if _, err := conn.Write(append(framed, wire...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	a, err := parse(query, q, buf, true)
	if errors.Is(err, errAgain) {
		return nil, errors.New("it cut its answer short over TCP too")
	}
	return a, err
}

// newQuery returns the message that asks q.
func newQuery(q Question) *dns.Msg {
	var random [40]byte
	_, _ = rand.Read(random[:]) // never fails
	m := new(dns.Msg)
	m.Id = binary.BigEndian.Uint16(random[:])
	m.RecursionDesired = q.Recurse
	m.CheckingDisabled = q.NoCheck
	m.AuthenticatedData = q.Recurse // asks for AD in the answer (RFC 6840 section 5.7)
	m.Question = []dns.Question{{Name: mixCase(q.Name, random[2:]), Qtype: q.Type, Qclass: dns.ClassINET}}
	m.SetEdns0(bufferSize, q.DNSSEC)
	return m
}

// mixCase turns letters of name to upper case by the bits of random.
func mixCase(name string, random []byte) string {
	b := []byte(name)
	for i, c := range b {
		if 'a' <= c && c <= 'z' && random[i/8%len(random)]>>(i%8)&1 == 1 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// parse reads what came back. errAgain asks for TCP, errForeign says that it is
// no answer to query. A server that does not repeat the case of the name is
// believed over TCP only.
func parse(query *dns.Msg, q Question, wire []byte, tcp bool) (*Answer, error) {
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		if m.Id != query.Id || !m.Response {
			return nil, errForeign
		}
		if m.Truncated {
			return nil, errAgain // cut in the middle of a record
		}
		return nil, fmt.Errorf("its answer is garbled: %w", err)
	}
	asked := query.Question[0]
	if m.Id != query.Id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return nil, errForeign
	}
	if len(m.Question) == 0 && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		// Some refuse without repeating the question; an error says nothing
		// about the name, so there is nothing to gain by forging it.
		return &Answer{Question: q, Code: m.Rcode}, nil
	}
	if len(m.Question) != 1 || m.Question[0].Qtype != asked.Qtype || m.Question[0].Qclass != asked.Qclass || !strings.EqualFold(m.Question[0].Name, asked.Name) {
		return nil, errForeign
	}
	if m.Truncated || m.Question[0].Name != asked.Name && !tcp {
		return nil, errAgain
	}
	return &Answer{
		Question: q, Code: m.Rcode, Authoritative: m.Authoritative, Authenticated: m.AuthenticatedData,
		Records: m.Answer, Authority: m.Ns, Additional: m.Extra,
	}, nil
}
