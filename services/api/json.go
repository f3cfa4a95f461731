package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// strictJSON decodes one JSON value and nothing after it; fields that the target does not have are an error.
func strictJSON(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one JSON value")
	}
	return nil
}
