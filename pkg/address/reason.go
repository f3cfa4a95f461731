package address

// Reason is the stable name of what is wrong with an address.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	Empty          Reason = "empty"
	TooLong        Reason = "too-long"
	NotText        Reason = "not-text"
	Control        Reason = "control-character"
	Space          Reason = "space"
	Bidi           Reason = "direction-character"
	Invisible      Reason = "invisible-character"
	Lookalike      Reason = "look-alike-character"
	DisplayName    Reason = "display-name"
	Quoted         Reason = "quoted"
	Comment        Reason = "comment"
	Literal        Reason = "address-literal"
	Several        Reason = "several"
	NoAt           Reason = "no-at"
	EmptyLocal     Reason = "empty-local-part"
	LongLocal      Reason = "long-local-part"
	Dots           Reason = "dots"
	Routing        Reason = "routing"
	LocalCharacter Reason = "local-part-character"
	EmptyDomain    Reason = "empty-domain"
	NoDot          Reason = "domain-without-dot"
	DomainLabel    Reason = "domain-label"
	DomainName     Reason = "domain-name"
	TopLevel       Reason = "top-level-domain"
)

var sentences = map[Reason]string{
	Empty:          "An address is needed.",
	TooLong:        "The address is longer than 254 bytes.",
	NotText:        "The address is not valid UTF-8.",
	Control:        "The address holds a control character.",
	Space:          "The address holds a space.",
	Bidi:           "The address holds a character that changes the direction of writing.",
	Invisible:      "The address holds an invisible character.",
	Lookalike:      "The address holds a character that only looks like another.",
	DisplayName:    "Give the address alone, without a name or angle brackets.",
	Quoted:         "Quoted addresses are not accepted.",
	Comment:        "Comments in an address are not accepted.",
	Literal:        "The part after the @ must be a domain name, not a network address.",
	Several:        "Give exactly one address.",
	NoAt:           "The @ is missing.",
	EmptyLocal:     "The part before the @ is missing.",
	LongLocal:      "The part before the @ is longer than 64 bytes.",
	Dots:           "The part before the @ may not start or end with a dot or hold two in a row.",
	Routing:        "The part before the @ may not hold % or !, which mail systems read as routing.",
	LocalCharacter: "The part before the @ holds a character that is not allowed.",
	EmptyDomain:    "The part after the @ is missing.",
	NoDot:          "The part after the @ must be a full domain name with a dot.",
	DomainLabel:    "Each part of the domain must be 1 to 63 letters, digits or hyphens, without a hyphen at either end.",
	DomainName:     "The domain is not a valid internationalized name.",
	TopLevel:       "The domain must end in a top-level domain.",
}

// Error tells why an address was refused.
type Error struct {
	Reason Reason
}

func refuse(r Reason) error { return &Error{Reason: r} }

// Error implements error: a sentence for people that never repeats the address.
func (e *Error) Error() string { return sentences[e.Reason] }
