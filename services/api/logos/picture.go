// Package logos takes in the pictures of organizations, keeps them with the ledger and shows them to everybody: mails
// and pages name them.
package logos

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"image"
	_ "image/gif" // decoders, known by what a file begins with
	"image/jpeg"
	"image/png"

	_ "golang.org/x/image/webp"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/problem"
)

// The most that a picture may have.
const (
	MaxBytes = 256 << 10
	MaxSide  = 2000 // pixels
)

// jpegQuality is high, because logos have hard edges.
const jpegQuality = 92

// Picture is a logo as it is kept: made anew from the pixels of what was uploaded, and of nothing else in the file.
type Picture struct {
	// Name follows from the content, so that another picture always has another name.
	Name string
	Data []byte
}

// Read makes a picture of an uploaded file. What the file says of its own kind is not asked: its bytes tell. JPEG stays
// JPEG, and PNG, GIF (its first picture) and WebP become PNG, which every mail program shows. Refusals are problem.Invalid
// at "logo".
func Read(file []byte) (Picture, error) {
	if len(file) > MaxBytes {
		return Picture{}, refused("is larger than 256 KB")
	}
	config, kind, err := image.DecodeConfig(bytes.NewReader(file))
	if err != nil && bytes.Contains(bytes.ToLower(file), []byte("<svg")) {
		return Picture{}, refused("is an SVG, which may hold script, and which mail programs don't show: take a PNG or JPEG of it")
	}
	if err != nil {
		return Picture{}, refused("is no picture of a kind that mail programs show: take a PNG, JPEG, GIF or WebP")
	}
	if config.Width > MaxSide || config.Height > MaxSide || config.Width < 1 || config.Height < 1 { // asked before memory is taken for the pixels
		return Picture{}, refused("is larger than 2000 pixels on a side")
	}
	pixels, _, err := image.Decode(bytes.NewReader(file))
	if err != nil {
		return Picture{}, refused("is damaged, or did not arrive whole")
	}
	return drawn(pixels, kind)
}

func drawn(pixels image.Image, kind string) (Picture, error) {
	var data bytes.Buffer
	var err error
	ending := ".png"
	if kind == "jpeg" {
		ending = ".jpg"
		err = jpeg.Encode(&data, pixels, &jpeg.Options{Quality: jpegQuality})
	} else {
		err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&data, pixels)
	}
	switch {
	case err != nil:
		return Picture{}, refused("cannot be made ready for mails")
	case data.Len() > MaxBytes:
		return Picture{}, refused("would be larger than 256 KB once it is made ready for mails: take fewer pixels")
	}
	sum := sha256.Sum256(data.Bytes())
	return Picture{Name: hex.EncodeToString(sum[:16]) + ending, Data: data.Bytes()}, nil
}

func refused(why string) error {
	return problem.Fields(events.FieldError{Location: "logo", Message: why})
}
