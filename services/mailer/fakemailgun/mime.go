package fakemailgun

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"time"
)

// readMIME fills the form from a message that came ready-made.
func (f *form) readMIME() error {
	msg, err := mail.ReadMessage(bytes.NewReader(f.mime))
	if err != nil {
		return errors.New("message parameter is not a valid MIME message")
	}
	words := mime.WordDecoder{}
	for name := range msg.Header {
		value, err := words.DecodeHeader(msg.Header.Get(name))
		if err != nil {
			value = msg.Header.Get(name)
		}
		switch name {
		case "From":
			f.from = value
		case "Subject":
			f.subject = value
		case "To", "Content-Type", "Mime-Version", "Content-Transfer-Encoding":
		default:
			f.headers[name] = value
		}
	}
	return f.readPart(textproto.MIMEHeader(msg.Header), msg.Body)
}

// readPart takes the texts out of a part, or out of the parts in it.
func (f *form) readPart(h textproto.MIMEHeader, r io.Reader) error {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") {
		parts := multipart.NewReader(r, params["boundary"])
		for {
			part, err := parts.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return errors.New("message parameter is not a valid MIME message")
			}
			if err := f.readPart(part.Header, part); err != nil {
				return err
			}
		}
	}
	raw, err := io.ReadAll(decoded(h, r))
	if err != nil {
		return errors.New("message parameter is not a valid MIME message")
	}
	switch kind {
	case "text/plain":
		f.text = string(raw)
	case "text/html":
		f.html = string(raw)
	}
	return nil
}

func decoded(h textproto.MIMEHeader, r io.Reader) io.Reader {
	switch strings.ToLower(h.Get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		return quotedprintable.NewReader(r)
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, r)
	}
	return r
}

// MIME is the mail as it arrives, in the form that mail programs read; empty when it is no longer kept. What a header was
// given goes into it as it is, line breaks too: whoever lets them through is found out here.
func (m Mail) MIME() []byte {
	if m.body == nil {
		return nil
	}
	var b bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, encodedHeader(value)) }
	header("From", encodedAddress(m.From))
	header("To", m.To)
	header("Subject", m.Subject)
	header("Date", m.At.Format(time.RFC1123Z))
	for _, name := range sorted(m.body.form.headers) {
		header(name, m.Header(name))
	}
	header("Mime-Version", "1.0")
	parts := multipart.NewWriter(&b)
	header("Content-Type", `multipart/alternative; boundary="`+parts.Boundary()+`"`)
	b.WriteString("\r\n")
	writePart(parts, "text/plain", m.Text())
	writePart(parts, "text/html", m.HTML())
	_ = parts.Close() // writes to memory
	return b.Bytes()
}

func writePart(parts *multipart.Writer, kind, text string) {
	part, _ := parts.CreatePart(textproto.MIMEHeader{
		"Content-Type": {kind + "; charset=utf-8"}, "Content-Transfer-Encoding": {"quoted-printable"},
	})
	encoder := quotedprintable.NewWriter(part)
	_, _ = io.WriteString(encoder, text)
	_ = encoder.Close()
}

func encodedHeader(value string) string {
	if strings.ContainsAny(value, "\r\n") {
		return value
	}
	return mime.QEncoding.Encode("utf-8", value)
}

func encodedAddress(from string) string {
	if a, err := mail.ParseAddress(from); err == nil {
		return a.String()
	}
	return from
}
