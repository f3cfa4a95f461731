package fakemailgun

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
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
