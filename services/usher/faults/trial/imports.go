package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// doorImport is a file.
const doorImport = "import"

// importAll uploads one file with some people and starts the job. From then on each of them is to be invited.
func (t *traffic) importAll(ctx context.Context, name string, some []*story) {
	var file bytes.Buffer
	_, _ = fmt.Fprintln(&file, "email,role")
	for _, s := range some {
		_, _ = fmt.Fprintf(&file, "%s,%s\n", s.email, s.role)
	}
	key := fmt.Sprintf("import-%s-%s", name, t.org)
	job := ""
	uploaded := t.uploadPatiently(ctx, file.Bytes(), key)
	if uploaded.yes() {
		var made struct{ ID string }
		_ = json.Unmarshal(uploaded.body, &made) // an empty id is refused by the start
		job = made.ID
	} else if !uploaded.open() {
		some[0].oddity("an upload", uploaded)
	}
	started := insist(ctx, func() answer { return post(ctx, t.cluster, "/v1/imports/"+job+"/start", struct{}{}, t.owner("")) })
	switch {
	case started.yes(), started.code() == "wrong-state" && uploaded.yes(): // the second: an earlier try was not answered
	case started.open() || uploaded.open():
		t.say("an import came to nothing: %s, %s", uploaded, started)
		return
	default:
		some[0].oddity("the start of an import", started)
		return
	}
	var running sync.WaitGroup
	for _, s := range some {
		s.mu.Lock()
		s.acknowledged = started.ended
		s.mu.Unlock()
		running.Go(func() { t.goOn(ctx, s) })
	}
	running.Wait()
}

// uploadPatience is how long somebody whose upload was cut off waits for it before they upload the file as another one.
const uploadPatience = 3 * time.Second

// uploadPatiently uploads a file until that is answered. Where the process died that took it in, its name stays in use for
// longer than people wait.
func (t *traffic) uploadPatiently(ctx context.Context, file []byte, key string) (a answer) {
	for n := 0; ctx.Err() == nil; n++ {
		trying, enough := context.WithTimeout(ctx, uploadPatience)
		a = insist(trying, func() answer { return t.upload(trying, file, fmt.Sprintf("%s-%d", key, n)) })
		enough()
		if !a.open() {
			return a
		}
	}
	return a
}

func (t *traffic) upload(ctx context.Context, file []byte, key string) (a answer) {
	a.began = time.Now()
	defer func() { a.ended = time.Now() }()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.any()+"/v1/organizations/"+t.org+"/imports?name=people.csv", bytes.NewReader(file))
	if err != nil {
		a.err = err
		return a
	}
	for name, value := range t.owner(key) {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", "text/csv")
	got, err := clients.Do(r)
	if err != nil {
		a.err = err
		return a
	}
	defer got.Body.Close()
	a.status, a.header = got.StatusCode, got.Header
	a.body, a.err = io.ReadAll(got.Body)
	return a
}
