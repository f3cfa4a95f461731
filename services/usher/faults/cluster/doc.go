// Package cluster runs Usher as it runs in production, process by process, beside real brokers and Redis servers, with
// everything that lies between them in the hands of whoever breaks it.
package cluster
