package pipeline

import "bytes"

// UnconditionalEnds is a seeded defect: outcomes are looked at first and then written whatever has come in between, because the
// condition asks for a subject that nobody writes to.
func UnconditionalEnds(said []byte) []byte {
	return bytes.ReplaceAll(said, []byte(".outcome.*\r\n"), []byte(".outcomE.*\r\n"))
}

// AnotherRole is a seeded defect of the worker: viewers become members.
func AnotherRole(said []byte) []byte {
	return bytes.ReplaceAll(said, []byte(`"role":"viewer"`), []byte(`"role":"member"`))
}

var (
	claimLine   = []byte(".timer.expiry ")
	headersEnd  = []byte("\r\n\r\n")
	condition   = []byte("\r\nNats-Expected-Last-Subject-Sequence:")
	noCondition = []byte("\r\nNats-Unheeded-Last-Subject-Sequence:")
)

// UnconditionalClaims is a seeded defect: the claim on an address is written whoever has it.
func UnconditionalClaims(said []byte) []byte {
	changed := said
	for at := 0; ; {
		begin := bytes.Index(said[at:], claimLine)
		if begin < 0 {
			return changed
		}
		at += begin + len(claimLine)
		headers, _, _ := bytes.Cut(said[at:], headersEnd)
		where := bytes.Index(headers, condition)
		if where < 0 {
			continue
		}
		if &changed[0] == &said[0] {
			changed = bytes.Clone(said)
		}
		copy(changed[at+where:], noCondition)
	}
}
