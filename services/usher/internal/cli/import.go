package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/services/usher/internal/client"
)

// bulkJob is an import as the API shows it.
type bulkJob struct {
	ID           string         `json:"id"`
	Organization string         `json:"organization"`
	Name         string         `json:"name"`
	State        string         `json:"state"`
	Reason       string         `json:"reason,omitempty"`
	Rows         int            `json:"rows"`
	Ready        int            `json:"ready"`
	Faults       map[string]int `json:"faults,omitempty"`
	Handled      int            `json:"handled"`
	Invited      int            `json:"invited"`
	Refused      map[string]int `json:"refused,omitempty"`
}

func importCommand(streams Streams) *cobra.Command {
	var org, role, inviter string
	var start bool
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Invite the people in a CSV file; without --start, only tell what would become of them",
		Long: "Uploads a CSV file of up to 100,000 people, whose first line names the columns (email, role, name, locale, organization, expires_in,\n" +
			"note), or a bare list of addresses, and tells how many of them can be invited. \"-\" reads the standard input. With --start they\n" +
			"are invited, and the command follows until the end; it may be interrupted, the import goes on. Instead of a file, the id of an\n" +
			"import that was uploaded before may be given.",
		Example: "  usher import people.csv --inviter owner@example.org\n  usher import people.csv --inviter owner@example.org --start",
		Args:    exactly(1, "one file"),
		RunE: func(c *cobra.Command, args []string) error {
			header := http.Header{}
			if inviter != "" {
				header.Set("Usher-Actor", inviter)
			}
			api := streams.api()
			var job bulkJob
			var err error
			if events.IsImportID(args[0]) {
				err = api.Call(c.Context(), http.MethodGet, "/v1/imports/"+args[0], header, nil, &job)
			} else {
				err = streams.upload(c, api, args[0], "/v1/organizations/"+url.PathEscape(org)+"/imports?"+
					url.Values{"role": {role}, "name": {filepath.Base(args[0])}}.Encode(), header, &job)
			}
			if err != nil {
				return err
			}
			if !start {
				return streams.print(c, job, "%s\nNobody was invited yet. To invite them: usher import %s --start", verdict(job), job.ID)
			}
			streams.progress(c, "%s", verdict(job))
			return streams.follow(c, api, header, job)
		},
	}
	c.Flags().StringVar(&org, "org", demo.ID, "organization")
	c.Flags().StringVar(&role, "role", "member", "role of rows that name none")
	c.Flags().StringVar(&inviter, "inviter", "", "address of the member who invites (default: the API key itself)")
	c.Flags().BoolVar(&start, "start", false, "invite everybody who can be")
	return c
}

// verdict says what was found in a file.
func verdict(job bulkJob) string {
	s := fmt.Sprintf("%s: %d of %d rows can be invited to %s.", job.ID, job.Ready, job.Rows, job.Organization)
	codes := make([]string, 0, len(job.Faults))
	for code := range job.Faults {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	for _, code := range codes {
		s += fmt.Sprintf("\n  %6d %s", job.Faults[code], code)
	}
	return s
}

func (s Streams) upload(c *cobra.Command, api *client.Client, name, path string, header http.Header, into *bulkJob) error {
	in := s.In
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return usageError{err}
		}
		defer func() { _ = file.Close() }() // it was only read
		in = file
	}
	return api.Upload(c.Context(), path, header, "text/csv", io.NopCloser(in), into)
}

// follow starts a job, or goes on with it, and tells how far it is until it ends.
func (s Streams) follow(c *cobra.Command, api *client.Client, header http.Header, job bulkJob) error {
	path := "/v1/imports/" + job.ID
	act := map[string]string{"ready": "/start", "paused": "/resume", "stopped": "/resume"}[job.State]
	if act != "" {
		if err := api.Call(c.Context(), http.MethodPost, path+act, header, nil, &job); err != nil {
			return err
		}
	}
	for last := -1; job.State == "running"; {
		if job.Handled != last {
			s.progress(c, "%d of %d", job.Handled, job.Ready)
			last = job.Handled
		}
		select {
		case <-c.Context().Done():
			return c.Context().Err()
		case <-time.After(time.Second):
		}
		if err := api.Call(c.Context(), http.MethodGet, path, header, nil, &job); err != nil {
			return err
		}
	}
	if err := s.print(c, job, "%s is %s: %d of %d people were invited.", job.ID, job.State, job.Invited, job.Ready); err != nil {
		return err
	}
	if job.State != "done" {
		return fmt.Errorf("the import is %s: %s", job.State, job.Reason)
	}
	return nil
}
