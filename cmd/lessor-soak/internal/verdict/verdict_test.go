package verdict

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestVerdictCountsViolations checks a good and a bad verdict, as JSON and as a table.
func TestVerdictCountsViolations(t *testing.T) {
	t.Parallel()
	tally := NewTally()
	tally.Add("leases issued", 2)
	tally.Excuse("requesters that died after their request")
	tally.Fault(BrokersKilled, 3)
	tally.Fault(AWSDisturbed, 12)
	tally.KeyReceived("alice k", "AKIA1", "alice.hard.01")
	tally.KeyReceived("alice k", "AKIA1", "alice.hard.01")
	tally.CheckKeys(nil)
	if v := tally.Verdict(7, time.Minute); !v.OK || v.Count("leases_issued") != 2 || v.Count("two_keys") != 0 {
		t.Errorf("a good verdict: %+v", v)
	}
	tally.KeyReceived("alice k", "AKIA2", "alice.hard.01")
	tally.KeyReceived("bob k", "AKIA3", "bob.hard.01")
	tally.KeyReceived("bob k", "AKIA4", "bob.hard.01")
	tally.CheckKeys(map[string]bool{"bob.hard.01": true})
	v := tally.Verdict(7, time.Minute)
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var read Verdict
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if read.OK || read.Count("two_keys") != 1 || len(read.Violations) != 1 || read.Violations[0].Kind != TwoKeys || read.Table() != v.Table() {
		t.Errorf("a bad verdict: %s", data)
	}
	for _, line := range []string{
		"        2  leases issued\n", "        1  requesters that died after their request\n",
		"        1  idempotency keys with two access keys\n", "AKIA1 and AKIA2", "verdict: BAD (seed 7, 1m0s: 3 brokers and 0 NATS servers killed, 12% of the AWS calls disturbed)\n",
	} {
		if !strings.Contains(read.Table(), line) {
			t.Errorf("the table does not say %q: %s", line, read.Table())
		}
	}
}
