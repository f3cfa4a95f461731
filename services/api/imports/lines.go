package imports

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
)

// Bounds of what is read at once. No field of an invitation may hold a line break, so that a record of several lines is a
// mistake, mostly a quote that is never closed: a few lines show which one.
const (
	maxRecord      = 8 << 10 // bytes
	maxRecordLines = 10
)

// line is one physical line, its end made a plain newline.
type line struct {
	text   []byte
	number int
	long   bool // it was longer than maxRecord, and text is its beginning
}

// lines reads physical lines that end in LF, CR LF or CR, and never keeps more of one than maxRecord.
type lines struct {
	from *bufio.Reader
	last int
	back []line // read before and put back, next first
}

// next gives a line, or io.EOF after the last.
func (l *lines) next() (line, error) {
	if len(l.back) > 0 {
		first := l.back[0]
		l.back = l.back[1:]
		return first, nil
	}
	l.last++
	read := line{number: l.last}
	for {
		c, err := l.from.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && (len(read.text) > 0 || read.long):
			return ended(read), nil
		case err != nil:
			return read, err
		case c == '\r':
			if after, err := l.from.Peek(1); err == nil && after[0] == '\n' {
				_, _ = l.from.Discard(1) // it was there a moment ago
			}
			return ended(read), nil
		case c == '\n':
			return ended(read), nil
		case len(read.text) == maxRecord:
			read.long = true
		default:
			read.text = append(read.text, c)
		}
	}
}

func ended(l line) line {
	l.text = append(l.text, '\n')
	return l
}

func (l *lines) putBack(some ...line) { l.back = slices.Concat(some, l.back) }

// quotes follows whether a quoted field is open at the end of a text.
type quotes struct {
	separator byte
	open      bool
}

// read goes on with another line.
func (q *quotes) read(text []byte) {
	begins := !q.open // the first field of a record
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case q.open && c == '"' && i+1 < len(text) && text[i+1] == '"':
			i++
		case q.open:
			q.open = c != '"'
		case c == q.separator:
			begins = true
		case begins && c == '"':
			q.open, begins = true, false
		case c != ' ':
			begins = false
		}
	}
}

// record gives the lines of one record joined, skipping empty ones. A record that cannot be right is given with the reason
// why, as its first line alone, so that one lost quote costs one row.
func (l *lines) record(separator byte) (joined line, wrong string, err error) {
	first, err := l.next()
	for err == nil && len(bytes.TrimSpace(first.text)) == 0 {
		first, err = l.next()
	}
	if err != nil {
		return first, "", err
	}
	if first.long {
		return first, "The line is too long.", nil
	}
	joined = line{text: slices.Clone(first.text), number: first.number}
	var more []line
	q := quotes{separator: separator}
	for q.read(first.text); q.open; q.read(more[len(more)-1].text) {
		next, err := l.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return first, "", err
		}
		if err == nil {
			more = append(more, next)
			joined.text = append(joined.text, next.text...)
		}
		if err != nil || next.long || len(more) == maxRecordLines || len(joined.text) > maxRecord {
			l.putBack(more...)
			return first, "A quote is opened and never closed.", nil
		}
	}
	return joined, "", nil
}
