package testca

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RuleSyntax explains the rules that [ParseRule] reads.
const RuleSyntax = `a rule is words with spaces between them: conditions, then at least one fault
  conditions  METHOD, new-order (or another endpoint, or a path), payload=TEXT, from=N, to=N, nth=N, p=0.5
  endpoints   directory new-nonce new-account account new-order order finalize authz challenge certificate revoke key-change renewal-info
  refusals    status=503 problem=429:rateLimited rate-limited account-gone already-replaced terms=URL redirect=URL
  headers     retry-after=VALUE no-nonce header=NAME:VALUE
  time        delay=50ms stall-before stall-after stall-body=BYTES
  loss        drop-before drop-after truncate=BYTES replay replay-second
  content     oversize=BYTES plain-http cert=KIND (KIND with _ for spaces: other_key, missing_name ...)
faults given first stand nearest to the client`

// ParseRule reads a rule for experiments by hand: see [RuleSyntax].
func ParseRule(text string) (Rule, error) {
	var r Rule
	var faults []Fault
	for _, word := range strings.Fields(text) {
		fault, err := r.word(word)
		if err != nil {
			return Rule{}, fmt.Errorf("rule %q: %w", text, err)
		}
		if fault != nil {
			faults = append(faults, fault)
		}
	}
	if len(faults) == 0 {
		return Rule{}, fmt.Errorf("rule %q has no fault", text)
	}
	r.Do = Chain(faults...)
	return r, nil
}

// word reads one word: a condition, or a fault, which it returns.
func (r *Rule) word(word string) (Fault, error) {
	name, value, _ := strings.Cut(word, "=")
	if condition, err := r.condition(word, name, value); condition || err != nil {
		return nil, err
	}
	if fault := plainFaults()[word]; fault != nil {
		return fault, nil
	}
	number := func(make func(int) Fault) (Fault, error) {
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a number", name, value)
		}
		return make(n), nil
	}
	switch name {
	case "status":
		return number(func(n int) Fault { return Answer(n, "", "") })
	case "problem":
		status, kind, _ := strings.Cut(value, ":")
		n, err := strconv.Atoi(status)
		if err != nil || kind == "" {
			return nil, fmt.Errorf("problem: %q is not STATUS:TYPE", value)
		}
		return Problem(n, kind, "refused by a rule"), nil
	case "terms":
		return UserActionRequired(value), nil
	case "redirect":
		return Redirect(302, value), nil
	case "retry-after":
		return SetHeader("Retry-After", value), nil
	case "header":
		header, content, _ := strings.Cut(value, ":")
		return SetHeader(header, content), nil
	case "delay":
		d, err := time.ParseDuration(value)
		return Delay(d), err
	case "stall-body":
		return number(StallBody)
	case "truncate":
		return number(Truncate)
	case "oversize":
		return number(func(n int) Fault { return Oversize(n, 0) })
	case "cert":
		kind := WrongKind(strings.ReplaceAll(value, "_", " "))
		if !slices.Contains(WrongKinds(), kind) {
			return nil, fmt.Errorf("cert: unknown kind %q", value)
		}
		return WrongCertificate(kind), nil
	}
	return nil, fmt.Errorf("unknown word %q", word)
}

// condition reports whether the word is a condition, and takes it.
func (r *Rule) condition(word, name, value string) (bool, error) {
	var err error
	switch {
	case name == "payload":
		r.Payload = value
	case name == "from":
		r.From, err = strconv.Atoi(value)
	case name == "to":
		r.To, err = strconv.Atoi(value)
	case name == "nth":
		r.From, err = strconv.Atoi(value)
		r.To = r.From
	case name == "p":
		r.Probability, err = strconv.ParseFloat(value, 64)
	case strings.HasPrefix(word, "/"):
		r.Path = word
	case endpoints()[word] != "":
		r.Path = endpoints()[word]
	case word == strings.ToUpper(word) && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "":
		r.Method = word
	default:
		return false, nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %q is not a number", name, value)
	}
	return true, err
}

// endpoints are the words for paths, as Let's Encrypt names them.
func endpoints() map[string]string {
	return map[string]string{
		"directory": PathDirectory, "new-nonce": PathNewNonce, "new-account": PathNewAccount, "account": PathAccount,
		"new-order": PathNewOrder, "order": PathOrder, "finalize": PathFinalize, "authz": PathAuthz, "challenge": PathChallenge,
		"certificate": PathCertificate, "revoke": PathRevoke, "key-change": PathKeyChange, "renewal-info": PathRenewalInfo,
	}
}

// plainFaults are the words that take no value.
func plainFaults() map[string]Fault {
	return map[string]Fault{
		"drop-before": DropBefore(), "drop-after": DropAfter(), "stall-before": StallBefore(), "stall-after": StallAfter(),
		"replay": Replay(false, nil), "replay-second": Replay(true, nil), "no-nonce": NoNonce(), "plain-http": PlainHTTP(),
		"rate-limited": RateLimited("too many requests", ""), "account-gone": AccountGone(), "already-replaced": AlreadyReplaced(),
	}
}

// Endpoint returns the word of [RuleSyntax] for a path, or the path itself.
func Endpoint(path string) string {
	words := endpoints()
	for _, word := range slices.Sorted(maps.Keys(words)) {
		if strings.HasPrefix(path, words[word]) {
			return word
		}
	}
	return path
}
