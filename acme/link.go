package acme

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxAlternates bounds the alternate chains that are fetched.
const maxAlternates = 10

// alternates returns the targets of the Link headers with rel="alternate"
// (RFC 8555 section 7.4.2, RFC 8288), resolved against base, without repeats,
// at most [maxAlternates]. They are not checked.
func alternates(h http.Header, base string) []string {
	at, err := url.Parse(base)
	if err != nil {
		return nil
	}
	var urls []string
	for _, v := range h.Values("Link") {
		for target, rels := range links(v) {
			if !slices.ContainsFunc(rels, func(r string) bool { return strings.EqualFold(r, "alternate") }) {
				continue
			}
			u, err := at.Parse(target)
			if err != nil || slices.Contains(urls, u.String()) {
				continue
			}
			if urls = append(urls, u.String()); len(urls) == maxAlternates {
				return urls
			}
		}
	}
	return urls
}

// links yields each target of one Link header with its relation types. It
// stops at the first thing it cannot read.
func links(v string) func(yield func(string, []string) bool) {
	return func(yield func(string, []string) bool) {
		for {
			v = strings.TrimLeft(v, " \t,")
			rest, ok := strings.CutPrefix(v, "<")
			if !ok {
				return
			}
			target, rest, ok := strings.Cut(rest, ">")
			if !ok {
				return
			}
			var rels []string
			for {
				rest = strings.TrimLeft(rest, " \t")
				if !strings.HasPrefix(rest, ";") {
					break
				}
				var name, value string
				if name, value, rest, ok = linkParam(rest[1:]); !ok {
					return
				}
				if strings.EqualFold(name, "rel") && rels == nil {
					rels = strings.Fields(value)
				}
			}
			if !yield(target, rels) {
				return
			}
			v = rest
		}
	}
}

// linkParam reads `name`, `name=token` or `name="quoted string"` at the start
// of s.
func linkParam(s string) (name, value, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t")
	end := strings.IndexAny(s, "=;,")
	if end < 0 {
		return strings.TrimSpace(s), "", "", true
	}
	name = strings.TrimSpace(s[:end])
	if s[end] != '=' {
		return name, "", s[end:], true
	}
	s = strings.TrimLeft(s[end+1:], " \t")
	if !strings.HasPrefix(s, `"`) {
		end = strings.IndexAny(s, ";,")
		if end < 0 {
			end = len(s)
		}
		return name, strings.TrimSpace(s[:end]), s[end:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return name, b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", "", false
}
