// Package mails reads Usher's mails as they arrive, with the parser of a mail program.
package mails
