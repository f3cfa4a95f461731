package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// arrival is one mail as the fake Mailgun got it.
type arrival struct {
	at   time.Time
	link string
}

// mailed is how many mails the fake has taken.
func (s *stack) mailed() (int, error) {
	answer, err := http.Get("http://" + s.fakeAddr + "/fake/counters")
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	var counters struct{ Mails int }
	err = json.NewDecoder(answer.Body).Decode(&counters)
	return counters.Mails, err
}

// awaitMails waits until everybody who was invited has been written to, and checks that nobody was twice. It gives the
// arrivals by the number of the address.
func (s *stack) awaitMails(ctx context.Context) ([]arrival, error) {
	patience := time.Minute + time.Duration(s.invited)*time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		n, err := s.mailed()
		if err != nil {
			return nil, err
		}
		if n >= s.invited {
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d mails came", n, s.invited)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := s.quiet(ctx); err != nil {
		return nil, err
	}
	return s.arrivals()
}

func (s *stack) arrivals() ([]arrival, error) {
	list, err := s.arrivalList()
	if err != nil {
		return nil, err
	}
	return s.sorted(list)
}

// arrivalList is the fake's list: number, instant, recipient, invitation and link of each mail.
func (s *stack) arrivalList() (string, error) {
	answer, err := http.Get("http://" + s.fakeAddr + "/fake/arrivals")
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

// eachArrival reads the fake's list, mail by mail, with the number of its address.
func eachArrival(list string, each func(n int, a arrival) error) error {
	for line := range strings.Lines(list) {
		words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		n, err := numberOf(words[2])
		if err != nil {
			return err
		}
		nanos, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return err
		}
		if err := each(n, arrival{at: time.Unix(0, nanos), link: words[4]}); err != nil {
			return err
		}
	}
	return nil
}

// sorted puts the fake's list into the order of the addresses.
func (s *stack) sorted(list string) ([]arrival, error) {
	all, mails := make([]arrival, s.invited), 0
	if err := eachArrival(list, func(n int, a arrival) error {
		if !all[n].at.IsZero() {
			return fmt.Errorf("person-%d was written to twice", n)
		}
		all[n] = a
		mails++
		return nil
	}); err != nil {
		return nil, err
	}
	if mails != s.invited {
		return nil, fmt.Errorf("%d mails for %d invitations", mails, s.invited)
	}
	return all, nil
}

// lastOf is when the last of the mails came.
func lastOf(all []arrival) time.Time {
	var last time.Time
	for _, a := range all {
		if a.at.After(last) {
			last = a.at
		}
	}
	return last
}

// addressOf is the address with that number, numberOf the number of an address.
func addressOf(dst []byte, n int) []byte {
	dst = append(dst, "person-"...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, "@example.org"...)
}

func numberOf(address string) (int, error) {
	rest, _ := strings.CutPrefix(address, "person-")
	digits, _, _ := strings.Cut(rest, "@")
	return strconv.Atoi(digits)
}
