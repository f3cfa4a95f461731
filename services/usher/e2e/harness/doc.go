// Package harness runs Usher as its users do: as processes, reached through the doors that are there for everybody.
//
// What it starts are the real binaries, built once for each run of the tests, and real servers beside them. What it reads
// are HTTP answers, events on the bus and mails. It knows nothing of Usher's insides.
package harness
