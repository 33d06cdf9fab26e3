package throttle

import "testing"

// A connection whose credentials change to those of another account leaves its
// limiter to the first account.
func TestConnectionThatChangesAccountLeavesItsLimiter(t *testing.T) {
	var accounts Accounts
	a, b, c := NewBudget(7), NewBudget(7), NewBudget(7)
	accounts.Join(a, "1")
	accounts.Join(b, "1")
	first := a.Limiter()
	accounts.Join(a, "2")
	if a.Limiter() == first || b.Limiter() != first || a.Limiter().ceiling != 7 {
		t.Error("the two accounts share a limiter")
	}
	accounts.Join(c, "2")
	if c.Limiter() != a.Limiter() {
		t.Error("the second account has two limiters")
	}
	accounts.Join(a, "1")
	if a.Limiter() != first {
		t.Error("a connection that returns to its account does not get the account's limiter")
	}
}
