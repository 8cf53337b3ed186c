package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/inkan-acme/inkan"
)

// told is an error of the SDK in words fit for a person; the original stays
// within reach of errors.Is and errors.As.
type told struct {
	text string
	err  error
}

func (t *told) Error() string { return t.text }
func (t *told) Unwrap() error { return t.err }

// codeOf returns the error code that AWS answered, or "".
func codeOf(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

// statusOf returns the HTTP status that was answered, or 0.
func statusOf(err error) int {
	if r := responseOf(err); r != nil {
		return r.StatusCode
	}
	return 0
}

func responseOf(err error) *http.Response {
	e, ok := errors.AsType[*awshttp.ResponseError](err)
	if !ok || e.Response == nil {
		return nil
	}
	return e.Response.Response
}

// throttled reports whether AWS refused a request for coming too fast. It was
// not carried out.
func throttled(err error) bool {
	switch codeOf(err) {
	case "Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException",
		"PriorRequestNotComplete", "SlowDown", "RequestThrottled", "RequestThrottledException":
		return true
	}
	return statusOf(err) == http.StatusTooManyRequests
}

// inWords returns what happened: who answered what, without the SDK's
// decoration.
func inWords(err error) string {
	host := ""
	if r := responseOf(err); r != nil && r.Request != nil {
		host = r.Request.URL.Host
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		text, message := e.ErrorCode(), e.ErrorMessage()
		if list, ok := refusal(err); ok {
			message = strings.Join(list, "; ")
		}
		if message != "" && message != text {
			text += ": " + strings.TrimRight(message, ". \n")
		}
		return inkan.Printable(fmt.Sprintf("%s answers %s", orService(host, err), text), 600)
	}
	if host != "" {
		return inkan.Printable(fmt.Sprintf("%s answers HTTP status %d", host, statusOf(err)), 600)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return inkan.Printable(fmt.Sprintf("%s %s: %v", strings.ToLower(e.Op), hostOf(e.URL), e.Err), 600)
	}
	return inkan.Printable(err.Error(), 600)
}

func orService(host string, err error) string {
	if host != "" {
		return host
	}
	service, _ := calledOf(err)
	return "AWS " + service
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "the server"
	}
	return u.Host
}

// calledOf returns the innermost operation that failed: that of STS if the
// role could not be assumed, else the one that was asked for.
func calledOf(err error) (service, operation string) {
	for err != nil {
		if e, ok := err.(*smithy.OperationError); ok {
			service, operation = e.Service(), e.Operation()
		}
		err = errors.Unwrap(err)
	}
	return service, operation
}

// actionOf names the IAM action that the failed call needs.
func actionOf(err error) string {
	service, operation := calledOf(err)
	switch service + ":" + operation {
	case "S3:ListObjectsV2":
		return "s3:ListBucket"
	case "STS:AssumeRole":
		return "sts:AssumeRole"
	}
	return strings.ToLower(strings.ReplaceAll(service, " ", "")) + ":" + operation
}

// explain turns what a call ended in into an *inkan.Error. op says which
// plug-in, what says which step: "put current/www.example.com". An ended
// context stays what it is.
func explain(ctx context.Context, op, what string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %s: %w", op, what, ctx.Err())
	}
	kind, hint := judge(err)
	return &inkan.Error{Op: op, Kind: kind, Hint: hint, Err: &told{what + ": " + inWords(err), err}}
}

// judge says what an error of any service means, and what to do about it.
// What it does not know is Temporary.
func judge(err error) (inkan.Kind, string) {
	switch code := codeOf(err); code {
	case "AccessDenied", "AccessDeniedException", "AllAccessDisabled", "Forbidden":
		hint := "allow the action " + actionOf(err) + " to the identity that inkan runs as"
		if service, _ := calledOf(err); service == "STS" {
			hint = "the role's trust policy must allow sts:AssumeRole to the identity that inkan runs as, with the external id if it demands one"
		}
		return inkan.Operator, hint
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "UnrecognizedClientException",
		"IncompleteSignature", "MissingAuthenticationToken", "InvalidToken", "InvalidSignatureException":
		return inkan.Operator, "the credentials are wrong: check access key and secret, and that they belong to this service"
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return inkan.Operator, "the temporary credentials have expired; a role or a profile renews them by itself"
	case "RequestTimeTooSkewed", "RequestExpired":
		return inkan.Operator, "set this machine's clock; AWS accepts a difference of 15 minutes at most"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "TemporaryRedirect", "BadRequest", "MovedPermanently":
		if region := regionOf(err); region != "" {
			return inkan.Operator, "set region: " + region + "; the bucket is there"
		}
		if code == "BadRequest" {
			break
		}
		return inkan.Operator, "set region to that of the bucket"
	case "NoSuchBucket":
		return inkan.Operator, "create the bucket, or correct the option bucket"
	case "InvalidBucketName":
		return inkan.Operator, "correct the option bucket"
	case "AccessControlListNotSupported":
		return inkan.Operator, "the bucket has its ACLs switched off: leave the option acl out and make the prefix public by a bucket policy"
	case "NotImplemented", "XNotImplemented":
		return inkan.Operator, "this server lacks what Inkan needs; use another one"
	case "InvalidChangeBatch", "InvalidInput", "InvalidDomainName":
		return inkan.Operator, "correct what the answer names; the zone must be the one that holds the name"
	case "NoSuchHostedZone":
		return inkan.Operator, "correct the option hosted_zone_id, or leave it out and the zone is found by its name"
	}
	if response := responseOf(err); response != nil {
		switch response.StatusCode {
		case http.StatusMovedPermanently, http.StatusTemporaryRedirect:
			if region := regionOf(err); region != "" {
				return inkan.Operator, "set region: " + region + "; the bucket is there"
			}
			return inkan.Operator, "the server redirects: correct the options endpoint and region"
		case http.StatusForbidden:
			return inkan.Operator, "allow the action " + actionOf(err) + " to the identity that inkan runs as"
		case http.StatusNotImplemented:
			return inkan.Operator, "this server lacks what Inkan needs; use another one"
		}
		return inkan.Temporary, ""
	}
	// Found before anything was sent; the SDK has no types for these.
	switch text := err.Error(); {
	case strings.Contains(text, "failed to refresh cached credentials"), strings.Contains(text, "get credentials:"),
		strings.Contains(text, "failed to retrieve credentials"):
		return inkan.Operator, "no AWS credentials were found: give access_key_id and secret_access_key, a profile, the AWS_ variables of the environment, or run where a role is attached"
	case strings.Contains(text, "Missing Region"), strings.Contains(text, "MissingRegion"), strings.Contains(text, "an AWS region is required"),
		strings.Contains(text, "A region must be set"):
		return inkan.Operator, "set the option region"
	}
	return inkan.Temporary, ""
}

// regionOf returns the region in which S3 says that the bucket is.
func regionOf(err error) string {
	r := responseOf(err)
	if r == nil {
		return ""
	}
	region := r.Header.Get("X-Amz-Bucket-Region")
	for _, c := range region {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return ""
		}
	}
	return region
}
