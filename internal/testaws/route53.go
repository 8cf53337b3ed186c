package testaws

import (
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
	"time"
)

// Route53 is a fake of Amazon Route 53, and of the AssumeRole of STS, that
// knows as much as Inkan uses and is strict about it: a change is PENDING until
// it is let through, a batch is carried out as a whole or not at all, CREATE of
// a set that exists and DELETE of one that does not or differs are refused, TXT
// values must be quoted, and more than five requests in a second are throttled.
type Route53 struct {
	Endpoint string

	mu       sync.Mutex
	settings Route53Settings
	zones    []*zone
	changes  map[string]*change
	requests []string
	times    []time.Time
}

// Route53Settings bends the fake; see [Route53.Set].
type Route53Settings struct {
	PerSecond  int           // requests in any second before Throttling; 0: any number
	Sync       time.Duration // how long a change stays PENDING
	Hold       bool          // changes stay PENDING until Hold is taken back
	PageSize   int           // of the zones by name; 0: 100
	ExternalID string        // what AssumeRole demands; its credentials then are the only ones that are taken
	Denied     string        // the operation that is answered with AccessDenied
	Fault      func(operation string) Fault
	// Between runs before each change is carried out, without the lock: what
	// somebody else does meanwhile.
	Between func()
}

// zone is one hosted zone. sets is what the API shows, live what the DNS
// server answers with.
type zone struct {
	id, name   string
	private    bool
	sets, live map[string]RecordSet
}

// RecordSet is a TXT record set as the API has it, its values quoted.
type RecordSet struct {
	TTL    int64
	Values []string
}

type change struct {
	zone *zone
	at   time.Time
	done map[string]RecordSet // the sets it wrote; without values: removed
}

// roleKey is the access key that AssumeRole gives out.
const roleKey = "ASIAINKANTEST"

// StartRoute53 starts the fake until t ends.
func StartRoute53(t testing.TB) *Route53 {
	t.Helper()
	f := &Route53{changes: map[string]*change{}, settings: Route53Settings{PerSecond: 5}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.Endpoint = server.URL
	return f
}

// Set changes the settings. At first they are those of AWS, and changes are
// everywhere at once.
func (f *Route53) Set(change func(*Route53Settings)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.settings)
}

// AddZone adds a hosted zone; name ends in a dot.
func (f *Route53) AddZone(id, name string, private bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.zones = append(f.zones, &zone{id: id, name: name, private: private, sets: map[string]RecordSet{}, live: map[string]RecordSet{}})
}

// Get returns the TXT set of a name as the API shows it.
func (f *Route53) Get(zoneID, name string) RecordSet {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.zone(zoneID).sets[strings.ToLower(name)]
}

// Put writes a TXT set at once, as somebody else does.
func (f *Route53) Put(zoneID, name string, s RecordSet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	z := f.zone(zoneID)
	write(z.sets, name, s)
	write(z.live, name, s)
}

// Requests returns the operations asked for so far, and forgets them.
func (f *Route53) Requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.requests
	f.requests = nil
	return list
}

func write(sets map[string]RecordSet, name string, s RecordSet) {
	if len(s.Values) == 0 {
		delete(sets, name)
	} else {
		sets[name] = s
	}
}

func (f *Route53) zone(id string) *zone {
	for _, z := range f.zones {
		if z.id == id {
			return z
		}
	}
	return nil
}

// settle lets through the changes whose time has come. f.mu is held.
func (f *Route53) settle() {
	for _, c := range f.changes {
		if c.done == nil || f.settings.Hold || time.Since(c.at) < f.settings.Sync {
			continue
		}
		for name, s := range c.done {
			write(c.zone.live, name, s)
		}
		c.done = nil
	}
}

// ServeHTTP implements http.Handler.
func (f *Route53) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	path := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, "/2013-04-01"), "/"), "/")
	operation := ""
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/":
		f.assumeRole(w, r, string(body))
		return
	case r.Method == http.MethodGet && path[0] == "hostedzonesbyname":
		operation = "ListHostedZonesByName"
	case r.Method == http.MethodGet && path[0] == "change" && len(path) == 2:
		operation = "GetChange"
	case r.Method == http.MethodGet && path[0] == "hostedzone" && len(path) == 3 && path[2] == "rrset":
		operation = "ListResourceRecordSets"
	case r.Method == http.MethodPost && path[0] == "hostedzone" && len(path) == 3 && path[2] == "rrset":
		operation = "ChangeResourceRecordSets"
	default:
		answerError(w, 404, "UnknownOperationException", r.Method+" "+r.URL.Path)
		return
	}

	f.mu.Lock()
	f.requests = append(f.requests, operation)
	settings := f.settings
	now := time.Now()
	f.times = slices.DeleteFunc(f.times, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	fast := settings.PerSecond > 0 && len(f.times) >= settings.PerSecond
	f.times = append(f.times, now)
	f.mu.Unlock()

	key := AccessKey
	if settings.ExternalID != "" {
		key = roleKey
	}
	switch {
	case fast:
		answerError(w, 400, "Throttling", "Rate exceeded")
		return
	case accessKeyOf(r) != key:
		answerError(w, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
		return
	case settings.Denied == operation:
		answerError(w, 403, "AccessDenied", "User: arn:aws:iam::123456789012:user/inkan is not authorized to perform: route53:"+operation)
		return
	}
	fault := None
	if settings.Fault != nil {
		fault = settings.Fault(operation)
	}
	carryOut := func(w http.ResponseWriter) {
		if operation == "ChangeResourceRecordSets" && settings.Between != nil {
			settings.Between()
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.settle()
		switch operation {
		case "ListHostedZonesByName":
			f.listZones(w, r)
		case "GetChange":
			f.getChange(w, path[1])
		case "ListResourceRecordSets":
			f.listSets(w, r, path[1])
		case "ChangeResourceRecordSets":
			f.changeSets(w, path[1], body)
		}
	}
	switch fault {
	case NotDone:
		panic(http.ErrAbortHandler)
	case Failed:
		answerError(w, 500, "InternalFailure", "The request processing has failed")
	case Busy:
		answerError(w, 400, "PriorRequestNotComplete", "The request was rejected because Route 53 was still processing a prior request.")
	case Slow:
		answerError(w, 400, "Throttling", "Rate exceeded")
	case Lost:
		carryOut(httptest.NewRecorder())
		panic(http.ErrAbortHandler)
	case Done500:
		carryOut(httptest.NewRecorder())
		answerError(w, 500, "InternalFailure", "The request processing has failed")
	default:
		carryOut(w)
	}
}

func (f *Route53) listZones(w http.ResponseWriter, r *http.Request) {
	from, fromID := r.URL.Query().Get("dnsname"), r.URL.Query().Get("hostedzoneid")
	size := 100
	if f.settings.PageSize > 0 {
		size = f.settings.PageSize
	}
	type hostedZone struct {
		Id     string `xml:"Id"`
		Name   string
		Config struct{ PrivateZone bool }
	}
	var out struct {
		XMLName          xml.Name     `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ListHostedZonesByNameResponse"`
		HostedZones      []hostedZone `xml:"HostedZones>HostedZone"`
		IsTruncated      bool
		NextDNSName      string `xml:",omitempty"`
		NextHostedZoneId string `xml:",omitempty"`
		MaxItems         int
	}
	out.MaxItems = size
	zones := slices.Clone(f.zones)
	slices.SortFunc(zones, func(a, b *zone) int {
		return strings.Compare(reversed(a.name)+" "+a.id, reversed(b.name)+" "+b.id)
	})
	for _, z := range zones {
		if reversed(z.name)+" "+z.id < reversed(from)+" "+fromID {
			continue
		}
		if len(out.HostedZones) == size {
			out.IsTruncated, out.NextDNSName, out.NextHostedZoneId = true, z.name, z.id
			break
		}
		h := hostedZone{Id: "/hostedzone/" + z.id, Name: z.name}
		h.Config.PrivateZone = z.private
		out.HostedZones = append(out.HostedZones, h)
	}
	answerXML(w, out)
}

// reversed returns the labels of a name the other way round, as Route 53 sorts.
func reversed(name string) string {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "."
}

func (f *Route53) getChange(w http.ResponseWriter, id string) {
	c := f.changes[id]
	if c == nil {
		answerError(w, 404, "NoSuchChange", "Could not find resource with ID: "+id)
		return
	}
	var out struct {
		XMLName    xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ GetChangeResponse"`
		ChangeInfo changeInfo
	}
	out.ChangeInfo = c.info(id)
	answerXML(w, out)
}

type changeInfo struct{ Id, Status, SubmittedAt string }

func (c *change) info(id string) changeInfo {
	status := "INSYNC"
	if c.done != nil {
		status = "PENDING"
	}
	return changeInfo{"/change/" + id, status, c.at.UTC().Format(time.RFC3339)}
}

type recordSet struct {
	Name    string
	Type    string
	TTL     int64
	Records []struct{ Value string } `xml:"ResourceRecords>ResourceRecord"`
}

func (f *Route53) listSets(w http.ResponseWriter, r *http.Request, id string) {
	z := f.zone(id)
	if z == nil {
		answerError(w, 404, "NoSuchHostedZone", "No hosted zone found with ID: "+id)
		return
	}
	q := r.URL.Query()
	size, err := strconv.Atoi(q.Get("maxitems"))
	if err != nil || size > 300 {
		answerError(w, 400, "InvalidInput", "maxitems")
		return
	}
	var out struct {
		XMLName     xml.Name    `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ListResourceRecordSetsResponse"`
		Sets        []recordSet `xml:"ResourceRecordSets>ResourceRecordSet"`
		IsTruncated bool
		MaxItems    int
	}
	out.MaxItems = size
	var names []string
	for name := range z.sets {
		if reversed(name) >= reversed(strings.ToLower(q.Get("name"))) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(reversed(a), reversed(b)) })
	if len(names) > size {
		names, out.IsTruncated = names[:size], true
	}
	for _, name := range names {
		s := recordSet{Name: name, Type: "TXT", TTL: z.sets[name].TTL}
		for _, v := range z.sets[name].Values {
			s.Records = append(s.Records, struct{ Value string }{v})
		}
		out.Sets = append(out.Sets, s)
	}
	answerXML(w, out)
}

// changeSets carries a whole batch out, or says all that stands against it.
func (f *Route53) changeSets(w http.ResponseWriter, id string, body []byte) {
	z := f.zone(id)
	if z == nil {
		answerError(w, 404, "NoSuchHostedZone", "No hosted zone found with ID: "+id)
		return
	}
	var in struct {
		Changes []struct {
			Action            string
			ResourceRecordSet recordSet
		} `xml:"ChangeBatch>Changes>Change"`
	}
	if err := xml.Unmarshal(body, &in); err != nil || len(in.Changes) == 0 {
		answerError(w, 400, "InvalidInput", fmt.Sprint("malformed batch: ", err))
		return
	}
	records, chars := 0, 0
	after := map[string]RecordSet{} // what the batch makes of the sets it names
	var problems []string
	for _, c := range in.Changes {
		set := c.ResourceRecordSet
		name := strings.ToLower(set.Name)
		s := RecordSet{TTL: set.TTL}
		for _, r := range set.Records {
			s.Values = append(s.Values, r.Value)
			records, chars = records+1, chars+len(r.Value)
			if problem := badTXT(r.Value); problem != "" {
				problems = append(problems, fmt.Sprintf("Invalid Resource Record: 'FATAL problem: %s encountered with '%s''", problem, r.Value))
			}
		}
		present, touched := after[name]
		if !touched {
			present = z.sets[name]
		}
		what := fmt.Sprintf("resource record set [name='%s', type='TXT']", set.Name)
		switch {
		case set.Type != "TXT" || len(s.Values) == 0:
			problems = append(problems, "Only TXT with values is known here")
		case name != z.name && !strings.HasSuffix(name, "."+z.name):
			problems = append(problems, fmt.Sprintf("RRSet with DNS name %s is not permitted in zone %s", set.Name, z.name))
		case c.Action == "CREATE" && len(present.Values) > 0:
			problems = append(problems, "Tried to create "+what+" but it already exists")
		case c.Action == "CREATE":
			after[name] = s
		case c.Action == "DELETE" && len(present.Values) == 0:
			problems = append(problems, "Tried to delete "+what+" but it was not found")
		case c.Action == "DELETE" && !sameSet(present, s):
			problems = append(problems, "Tried to delete "+what+" but the values provided do not match the current values")
		case c.Action == "DELETE":
			after[name] = RecordSet{}
		default:
			problems = append(problems, "Action "+c.Action+" loses what others wrote")
		}
	}
	if records > 1000 || chars > 32000 {
		problems = append(problems, "Number of records limit of 1000 or of characters of 32000 exceeded")
	}
	if len(problems) > 0 {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(400)
		var out struct {
			XMLName   xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ InvalidChangeBatch"`
			Messages  []string `xml:"Messages>Message"`
			RequestId string
		}
		out.Messages, out.RequestId = problems, "F4KE"
		_ = xml.NewEncoder(w).Encode(out)
		return
	}
	for name, s := range after {
		write(z.sets, name, s)
	}
	changeID := fmt.Sprintf("C%d", len(f.changes)+1)
	f.changes[changeID] = &change{zone: z, at: time.Now(), done: after}
	var out struct {
		XMLName    xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ChangeResourceRecordSetsResponse"`
		ChangeInfo changeInfo
	}
	out.ChangeInfo = f.changes[changeID].info(changeID)
	answerXML(w, out)
	f.settle()
}

func sameSet(a, b RecordSet) bool {
	sorted := func(s RecordSet) []string { return slices.Sorted(slices.Values(s.Values)) }
	return a.TTL == b.TTL && slices.Equal(sorted(a), sorted(b))
}

func (f *Route53) assumeRole(w http.ResponseWriter, r *http.Request, body string) {
	r.Body = io.NopCloser(strings.NewReader(body))
	if err := r.ParseForm(); err != nil || r.Form.Get("Action") != "AssumeRole" {
		answerError(w, 400, "InvalidAction", "Could not find operation")
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, "AssumeRole")
	switch {
	case accessKeyOf(r) != AccessKey:
		answerError(w, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
		return
	case r.Form.Get("ExternalId") != f.settings.ExternalID:
		answerError(w, 403, "AccessDenied", "User: arn:aws:iam::123456789012:user/inkan is not authorized to perform: sts:AssumeRole on resource: "+r.Form.Get("RoleArn"))
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>`+
		`<AccessKeyId>%s</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration>`+
		`</Credentials></AssumeRoleResult></AssumeRoleResponse>`, roleKey, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

func answerXML(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "text/xml")
	_, _ = io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(v)
}

func answerError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>F4KE</RequestId></ErrorResponse>`, code, message)
}
