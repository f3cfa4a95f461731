// Package disks has those parts of the fault campaign in which the disks of the broker and of Redis fail: the power goes, they
// are full, slow, or say that they could not sync.
package disks

import "github.com/usherhq/usher/services/usher/faults/campaign"

// Parts are the package's parts.
func Parts() []campaign.Part {
	return []campaign.Part{
		{
			Name: "powercut", Units: 100, Slice: 2, Parallel: 6, Run: powercut,
			Claim: "After power cuts that take all processes and whatever was not synced, nothing that was acknowledged is lost and nothing is double.",
		},
		{
			Name: "powercut-lazy", Units: 100, Slice: 1, Parallel: 6, Control: true, Run: powercutLazy,
			Claim: "The same with a broker that syncs every two minutes, its own default, loses what was acknowledged, every time.",
		},
	}
}
