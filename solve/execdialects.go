package solve

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/command"
)

// maxHookOutput is how much of what certbot's auth hook prints is kept for its
// clean-up: in base64 it fits into an Undo.
const maxHookOutput = 750

// hookUndo is what a hook printed.
type hookUndo struct {
	Output []byte `json:"output"`
}

// call returns how the program is called for n challenges from the i-th on.
func (h *hook) call(challenges []inkan.Challenge, i, n int, cleaning bool) command.Call {
	c := challenges[i]
	name := c.Identifier.Base()
	switch h.dialect {
	case certbot:
		return h.certbotCall(challenges, i, cleaning)
	case modMD, modMD2:
		if !cleaning {
			return command.Call{Args: []string{"setup", name, h.value(c)}}
		}
		args := []string{"teardown", name}
		if h.dialect == modMD2 {
			args = append(args, h.value(c))
		}
		return command.Call{Args: args}
	}
	// dehydrated, docs/examples/hook.sh
	args := []string{"deploy_challenge"}
	if cleaning {
		args[0] = "clean_challenge"
	}
	for _, c := range challenges[i : i+n] {
		args = append(args, c.Identifier.Base(), c.Token, h.value(c))
	}
	call := command.Call{Args: args}
	if h.chain {
		call.Env = []string{"HOOK_CHAIN=yes"}
	}
	return call
}

// certbotCall follows certbot's manual plugin,
// https://eff-certbot.readthedocs.io/en/stable/using.html#pre-and-post-validation-hooks
func (h *hook) certbotCall(challenges []inkan.Challenge, i int, cleaning bool) command.Call {
	c := challenges[i]
	var all []string
	for _, c := range challenges {
		if name := c.Identifier.Base(); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	names := strings.Join(all, ",")
	call := command.Call{Env: []string{
		"CERTBOT_DOMAIN=" + c.Identifier.Base(), "CERTBOT_IDENTIFIER=" + c.Identifier.Base(),
		"CERTBOT_VALIDATION=" + h.value(c),
		"CERTBOT_ALL_DOMAINS=" + names, "CERTBOT_ALL_IDENTIFIERS=" + names,
		"CERTBOT_REMAINING_CHALLENGES=" + strconv.Itoa(len(challenges)-i-1),
	}}
	if h.challengeType == inkan.HTTP01 {
		call.Env = append(call.Env, "CERTBOT_TOKEN="+c.Token)
	}
	if !cleaning {
		call.MaxOutput = maxHookOutput
		return call
	}
	var u hookUndo
	if len(c.Undo) > 0 && json.Unmarshal(c.Undo, &u) == nil && bytes.IndexByte(u.Output, 0) < 0 {
		call.Env = append(call.Env, "CERTBOT_AUTH_OUTPUT="+strings.TrimSpace(string(u.Output)))
	}
	return call
}

// lines speaks the protocol of acme-client's option -t: a line for each
// challenge, which the program writes back when the proof stands. A clean-up
// gets the same lines and needs to say nothing.
func (h *hook) lines(ctx context.Context, program *command.Command, challenges []inkan.Challenge, cleaning bool) error {
	var in strings.Builder
	for _, c := range challenges {
		in.WriteString(line(c) + "\n")
	}
	out, err := program.Run(ctx, command.Call{Stdin: []byte(in.String()), MaxOutput: 64<<10 + in.Len()})
	if err != nil {
		return inkan.Errorf(inkan.KindOf(err), h.challengeType+" hook", "%w", err)
	}
	if cleaning {
		return nil
	}
	said := strings.Split(strings.ReplaceAll(string(out), "\r\n", "\n"), "\n")
	for _, c := range challenges {
		if !slices.Contains(said, line(c)) {
			return inkan.Errorf(inkan.Temporary, h.challengeType+" hook for "+c.Identifier.Value, "%s did not write back the line of its challenge; it said: %s",
				strings.TrimPrefix(program.Op(), "running "), inkan.Printable(program.Hidden(strings.TrimSpace(string(out))), 300)).
				WithHint("it must read lines from standard input and write each to standard output when the proof stands")
		}
	}
	return nil
}

func line(c inkan.Challenge) string {
	return c.Type + " " + c.Identifier.Base() + " " + c.KeyAuthorization
}
