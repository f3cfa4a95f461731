package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// bulkJob is what the API says of an import.
type bulkJob struct {
	ID                            string
	State                         string
	Rows, Ready, Handled, Invited int
}

// importing measures what a file of many rows takes, and what single invitations notice of it: their answers and their
// mails, at a steady rate, without and with the import beside them.
func importing(ctx context.Context, b *bench) error {
	s, err := open(ctx, b, 1)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.warm(ctx); err != nil {
		return err
	}
	alone, aloneMail, err := s.singles(ctx)
	if err != nil {
		return err
	}
	peak, stop := s.watchResident()
	defer stop()
	before := peak.Load()
	job, err := s.upload(b.importRows)
	if err != nil {
		return err
	}
	b.add("resident, Usher, grown by the upload", float64(peak.Load()-before)/(1<<20), "MiB")
	began := time.Now()
	if err := s.call(http.MethodPost, "/v1/imports/"+job.ID+"/start", nil, http.StatusOK, nil); err != nil {
		return err
	}
	beside, besideMail, err := s.singles(ctx)
	if err != nil {
		return err
	}
	during, err := s.job(job.ID)
	if err != nil {
		return err
	}
	b.perSecond("invited by the import, beside single invitations", during.Handled, time.Since(began))
	if err := s.awaitJob(ctx, job.ID); err != nil {
		return err
	}
	b.add(fmt.Sprintf("%d rows, from start to the last", b.importRows), time.Since(began).Seconds(), "s")
	if _, err := s.awaitMails(ctx); err != nil {
		return err
	}
	b.add("resident, Usher, highest", float64(peak.Load())/(1<<20), "MiB").atMost(512)
	s.compare("answer", "the import", alone, beside)
	s.compare("request to mail", "the import", aloneMail, besideMail)
	return nil
}

// compare reports how much longer the same takes beside something else.
func (s *stack) compare(what, other string, alone, beside []time.Duration) {
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}} {
		a, b := quantile(alone, q.at), quantile(beside, q.at)
		s.bench.millis("single: "+what+", "+q.name+", alone", a)
		s.bench.millis("single: "+what+", "+q.name+", beside "+other, b)
		figure := s.bench.add("single: "+what+", "+q.name+", beside over alone", float64(b)/float64(a), "")
		if q.name != "p99" {
			figure.atMost(2)
		}
	}
}

// singles invites at a steady rate, and gives how long answers and mails took.
func (s *stack) singles(ctx context.Context) (latencies, toMail []time.Duration, err error) {
	l, from := s.inviting(), s.invited
	a, err := l.paced(ctx, s.bench.rate, s.bench.duration)
	s.invited += a.n
	if err != nil {
		return nil, nil, err
	}
	mails, err := s.mailsOf(ctx, from, a.n)
	if err != nil {
		return nil, nil, err
	}
	for n, sent := range a.sent {
		toMail = append(toMail, mails[n].Sub(sent))
	}
	return a.latencies, toMail, nil
}

// mailsOf waits for the mails of n addresses from the given one on, whatever else is mailed meanwhile.
func (s *stack) mailsOf(ctx context.Context, from, n int) ([]time.Time, error) {
	at := make([]time.Time, n)
	return at, until(ctx, "the mails of single invitations", func() error {
		list, err := s.arrivalList()
		if err != nil {
			return err
		}
		found := 0
		err = eachArrival(list, func(number int, a arrival) error {
			if number >= from && number < from+n {
				at[number-from] = a.at
				found++
			}
			return nil
		})
		if err == nil && found < n {
			err = fmt.Errorf("%d of %d came", found, n)
		}
		return err
	})
}

// upload uploads a file of so many people, and checks that all of them may be invited.
func (s *stack) upload(rows int) (job bulkJob, err error) {
	file := []byte("email,role\n")
	for n := range rows {
		file = append(addressOf(file, s.invited+n), ",member\n"...)
	}
	s.invited += rows
	c, err := dial(s.api)
	if err != nil {
		return job, err
	}
	defer c.close()
	began := time.Now()
	head := fmt.Sprintf("POST /v1/organizations/acme/imports HTTP/1.1\r\nHost: usher\r\nContent-Type: text/csv\r\nAuthorization: Bearer %s\r\n"+
		"Usher-Actor: owner@example.org\r\nContent-Length: %d\r\n\r\n", s.key, len(file))
	status, body, err := c.do(append([]byte(head), file...))
	if err != nil {
		return job, err
	}
	s.bench.add(fmt.Sprintf("%d rows, uploaded, judged and stored", rows), time.Since(began).Seconds(), "s").atMost(60)
	if err := expect(http.StatusCreated)(0, status, body); err != nil {
		return job, err
	}
	if err := json.Unmarshal(body, &job); err != nil {
		return job, err
	}
	if job.Ready != rows {
		return job, fmt.Errorf("%d of %d rows are ready", job.Ready, rows)
	}
	return job, nil
}

func (s *stack) job(id string) (job bulkJob, err error) {
	err = s.call(http.MethodGet, "/v1/imports/"+id, nil, http.StatusOK, &job)
	return job, err
}

// awaitJob waits until everybody in the file was invited.
func (s *stack) awaitJob(ctx context.Context, id string) error {
	for {
		job, err := s.job(id)
		if err != nil {
			return err
		}
		if job.State == "done" && job.Invited == job.Ready {
			return nil
		}
		if job.State != "running" {
			return fmt.Errorf("the import is %s with %d of %d invited", job.State, job.Invited, job.Ready)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// watchResident keeps the highest memory that Usher takes, until stop.
func (s *stack) watchResident() (peak *atomic.Int64, stop func()) {
	peak = &atomic.Int64{}
	ctx, cancel := context.WithCancel(context.Background())
	look := func() {
		if now, err := s.usher[0].resident(); err == nil && now > peak.Load() {
			peak.Store(now)
		}
	}
	look()
	go func() {
		for ctx.Err() == nil {
			look()
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return peak, cancel
}
