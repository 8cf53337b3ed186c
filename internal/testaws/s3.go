package testaws

import (
	"cmp"
	"crypto/md5" // the ETag of Amazon S3
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Fault is how one request to a fake goes wrong.
type Fault int

const (
	None    Fault = iota
	NotDone       // the connection breaks, nothing was done
	Lost          // it is done, and the connection breaks before the answer
	Failed        // HTTP 500, nothing was done
	Done500       // HTTP 500, and it was done
	Busy          // 409 ConditionalRequestConflict
	Slow          // 503 SlowDown
)

// Object is one object of the S3 fake.
type Object struct {
	Data        []byte
	ETag        string
	ACL         string
	ContentType string
}

// S3 is a fake of Amazon S3 for one bucket, path style, in memory: strongly
// consistent, every request carried out under one lock. It does what the API
// reference says of PutObject, GetObject, DeleteObject and ListObjectsV2, and
// fails as it is told.
type S3 struct {
	Endpoint string
	Bucket   string

	mu       sync.Mutex
	objects  map[string]Object
	requests []string
	settings S3Settings
}

// S3Settings bends the fake. All may be changed between requests by [S3.Set].
type S3Settings struct {
	PageSize       int                                 // of listings; 0 means 1,000
	EmptyPages     bool                                // every second page of a listing holds nothing, as with delete markers
	Fault          func(method, key string) Fault      // asked for every request to an object; nil: none
	Denied         func(method, key string) bool       // answers AccessDenied
	Message        string                              // of AccessDenied, in place of the usual one
	Key            string                              // the access key of temporary credentials that is taken now; AccessKey has expired then
	Region         string                              // where the bucket is; other regions are redirected. "" is everywhere
	NoConditions   string                              // a header that is ignored: "If-None-Match" or "If-Match"
	AlwaysConflict bool                                // If-Match never holds
	List           func(sorted []string) (as []string) // what a listing is made of; nil: the keys sorted
	Skewed         bool                                // answers RequestTimeTooSkewed
	Size           int64                               // the Content-Length that GET tells; 0: the true one
}

// StartS3 starts the fake until t ends.
func StartS3(t testing.TB, bucket string) *S3 {
	t.Helper()
	s := &S3{Bucket: bucket, objects: map[string]Object{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.Endpoint = server.URL
	return s
}

// Set changes the settings.
func (s *S3) Set(change func(*S3Settings)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.settings)
}

// Object returns one object.
func (s *S3) Object(key string) (Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	return o, ok
}

// Write puts an object in place as somebody else does.
func (s *S3) Write(key string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = Object{Data: data, ETag: etagOf(data)}
}

// Requests returns "METHOD key" of every request so far, "LIST" for listings,
// and forgets them.
func (s *S3) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.requests
	s.requests = nil
	return list
}

func etagOf(data []byte) string {
	sum := md5.Sum(data)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// ServeHTTP implements http.Handler.
func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	name := r.Method + " " + key
	if key == "" {
		name = "LIST"
	}
	s.mu.Lock()
	s.requests = append(s.requests, name)
	settings := s.settings
	public := s.objects[key].ACL == "public-read" && r.Method == http.MethodGet
	s.mu.Unlock()

	switch access := accessKeyOf(r); {
	case access == "" && public:
	case access == "":
		refuse(w, 403, "AccessDenied", "Access Denied.")
		return
	case settings.Key != "" && access == AccessKey:
		refuse(w, 400, "ExpiredToken", "The provided token has expired.")
		return
	case access != cmp.Or(settings.Key, AccessKey):
		refuse(w, 403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
		return
	case settings.Skewed:
		refuse(w, 403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
		return
	case settings.Region != "" && !strings.Contains(r.Header.Get("Authorization"), "/"+settings.Region+"/s3/"):
		w.Header().Set("X-Amz-Bucket-Region", settings.Region)
		refuse(w, 301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint.")
		return
	case bucket != s.Bucket:
		refuse(w, 404, "NoSuchBucket", "The specified bucket does not exist")
		return
	}
	if settings.Denied != nil && settings.Denied(r.Method, key) {
		refuse(w, 403, "AccessDenied", cmp.Or(settings.Message, "User: arn:aws:iam::123456789012:user/inkan is not authorized to perform this action."))
		return
	}
	if key == "" {
		s.list(w, r, settings)
		return
	}
	fault := None
	if settings.Fault != nil {
		fault = settings.Fault(r.Method, key)
	}
	switch fault {
	case NotDone:
		panic(http.ErrAbortHandler)
	case Failed:
		refuse(w, 500, "InternalError", "We encountered an internal error. Please try again.")
	case Busy:
		refuse(w, 409, "ConditionalRequestConflict", "The conditional request cannot succeed due to a conflicting operation against this resource.")
	case Slow:
		refuse(w, 503, "SlowDown", "Please reduce your request rate.")
	case Lost:
		s.object(httptest.NewRecorder(), r, key, body, settings)
		panic(http.ErrAbortHandler)
	case Done500:
		s.object(httptest.NewRecorder(), r, key, body, settings)
		refuse(w, 500, "InternalError", "We encountered an internal error. Please try again.")
	default:
		s.object(w, r, key, body, settings)
	}
}

// object carries one request to an object out.
func (s *S3) object(w http.ResponseWriter, r *http.Request, key string, body []byte, settings S3Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, exists := s.objects[key]
	switch r.Method {
	case http.MethodGet:
		if !exists {
			refuse(w, 404, "NoSuchKey", "The specified key does not exist.")
			return
		}
		w.Header().Set("ETag", old.ETag)
		w.Header().Set("Content-Type", old.ContentType)
		length := int64(len(old.Data))
		if settings.Size != 0 {
			length = settings.Size
		}
		w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
		_, _ = w.Write(old.Data)
	case http.MethodPut:
		none, match := r.Header.Get("If-None-Match"), r.Header.Get("If-Match")
		switch {
		case none == "" && match == "":
			// Design law 3; S3 itself would take it.
			refuse(w, 400, "Unconditional", "There is no unconditional write.")
			return
		case none != "" && none != "*":
			refuse(w, 501, "NotImplemented", "A header you provided implies functionality that is not implemented.")
			return
		case none == "*" && exists && settings.NoConditions != "If-None-Match":
			refuse(w, 412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
			return
		case match != "" && settings.NoConditions == "If-Match":
		case match != "" && !exists:
			refuse(w, 404, "NoSuchKey", "The specified key does not exist.")
			return
		case match != "" && (match != old.ETag || settings.AlwaysConflict):
			refuse(w, 412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
			return
		}
		if sum := r.Header.Get("X-Amz-Content-Sha256"); len(sum) != 64 {
			refuse(w, 400, "InvalidRequest", "The payload is not signed as a whole: "+sum)
			return
		}
		o := Object{Data: body, ETag: etagOf(body), ACL: r.Header.Get("X-Amz-Acl"), ContentType: r.Header.Get("Content-Type")}
		s.objects[key] = o
		w.Header().Set("ETag", o.ETag)
	case http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(w, 405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	}
}

// listing is the answer to ListObjectsV2.
type listing struct {
	XMLName     xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name        string
	Prefix      string
	KeyCount    int
	MaxKeys     int
	IsTruncated bool
	NextToken   string `xml:"NextContinuationToken,omitempty"`
	Contents    []listed
}

type listed struct{ Key, ETag string }

func (s *S3) list(w http.ResponseWriter, r *http.Request, settings S3Settings) {
	q := r.URL.Query()
	if q.Get("list-type") != "2" {
		refuse(w, 501, "NotImplemented", "Only ListObjectsV2 is known here.")
		return
	}
	size := 1000
	if settings.PageSize > 0 {
		size = settings.PageSize
	}
	after := q.Get("start-after")
	token := q.Get("continuation-token")
	empty := false
	if token != "" {
		// A token is "t" or "e", for a page or an empty one, and the key.
		empty, after = token[0] == 'e', token[1:]
	}
	s.mu.Lock()
	var keys []string
	for key := range s.objects {
		if strings.HasPrefix(key, q.Get("prefix")) && key > after {
			keys = append(keys, key)
		}
	}
	s.mu.Unlock()
	slices.Sort(keys)
	if settings.List != nil {
		keys = settings.List(keys)
	}
	l := listing{Name: s.Bucket, Prefix: q.Get("prefix"), MaxKeys: size}
	switch {
	case empty:
		l.IsTruncated, l.NextToken = true, "t"+after
	case len(keys) > size:
		keys = keys[:size]
		l.IsTruncated, l.NextToken = true, "t"+keys[size-1]
		if settings.EmptyPages {
			l.NextToken = "e" + keys[size-1]
		}
		fallthrough
	default:
		for _, key := range keys {
			l.Contents = append(l.Contents, listed{Key: key})
		}
	}
	l.KeyCount = len(l.Contents)
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(l)
}

// refuse answers with an error as S3 does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s<Error><Code>%s</Code><Message>%s</Message><RequestId>F4KE</RequestId></Error>", xml.Header, code, message)
}
