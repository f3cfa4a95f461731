package events

import (
	"embed"
	"io/fs"
)

// AsyncAPI is the contract as an AsyncAPI 3.0 document in YAML: channels, operations, messages, and the schemas within.
//
//go:embed asyncapi.yaml
var AsyncAPI []byte

//go:embed schemas
var schemas embed.FS

// Schemas holds one JSON Schema per event, in the file <type>.json. The schemas use what draft-07 and 2020-12 share. They
// draw the same limits as Validate, which looks at a few things more, such as control characters.
var Schemas = func() fs.FS {
	sub, err := fs.Sub(schemas, "schemas")
	if err != nil {
		panic(err) // only a path that is no path gets here
	}
	return sub
}()
