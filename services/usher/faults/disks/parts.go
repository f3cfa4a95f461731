// Package disks has those parts of the fault campaign in which the disks of the broker and of Redis fail: the power goes, they
// are full, slow, or say that they could not sync.
package disks

import "github.com/usherhq/usher/services/usher/faults/campaign"

// Parts are the package's parts.
func Parts() []campaign.Part {
	return []campaign.Part{
		{
			Name: "powercut", Units: 100, Slice: 2, Parallel: 10, Run: powercut,
			Claim: "After power cuts that take all processes and whatever was not synced, nothing that was acknowledged is lost and nothing is double.",
		},
		{
			Name: "powercut-cluster", Units: 25, Slice: 1, Parallel: 6, Run: powercutCluster,
			Claim: "The same where three brokers that replicate and two Redis servers lose their power at once.",
		},
		{
			Name: "powercut-lazy", Units: 100, Slice: 1, Parallel: 6, Control: true, Run: powercutLazy,
			Claim: "The same with a broker that syncs every two minutes, its own default, loses what was acknowledged, every time.",
		},
		{
			Name: "diskfull", Units: 60, Slice: 1, Parallel: 10, Run: diskFull,
			Claim: "Without space for the broker, Redis or both, requests are acknowledged and kept, or refused with 503 and a time to come back; with space again they are answered yes, at most after a new start of the broker.",
		},
		{
			Name: "fsync-error", Units: 200, Slice: 1, Parallel: 10, Run: fsyncError,
			Claim: "After the n-th fsync has failed, n from 1 to 200, once or for good, nothing is acknowledged that a power cut then takes.",
		},
		{
			Name: "slow-disk", Units: 40, Slice: 1, Parallel: 10, Run: slowDisk,
			Claim: "With up to half a second for each fsync, requests are acknowledged and kept, or refused with 503 and a time to come back.",
		},
	}
}
