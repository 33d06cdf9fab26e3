package natsconfig

import (
	"slices"

	"github.com/lessorhq/lessor/messages"
)

// brokerMay is what a broker may: it is worker, scheduler and sweeper on one
// connection.
func brokerMay(n messages.Namespace, name string) Permissions {
	return together(workerMay(n, name), schedulerMay(n, name), sweeperMay(n, name))
}

// workerMay is what the handling of messages takes: the streams and buckets, which
// the worker makes, the front door and the admin service.
func workerMay(n messages.Namespace, name string) Permissions {
	may := Permissions{publish: []string{
		// Answers and deliveries. All that ask are in other accounts, and the server
		// stands in for their inboxes.
		"_R_.>",
		n.VerbFilter(messages.VerbRequest), n.VerbFilter(messages.VerbRenew), n.VerbFilter(messages.VerbRevoke),
		n.EventFilter(),
	}, subscribe: append(inbox(name),
		n.API("request", "*", "*"), n.API("renew", "*", "*", "*"), n.API("revoke", "*", "*", "*"),
		n.API("get", "*", "*", "*"), n.API("list", "*"),
		n.VerbFilter(messages.VerbConfirm), // that nobody listens to a delivery is told there
	)}
	for _, subject := range adminSubjects(n) {
		may.subscribe = append(may.subscribe, subject, n.AdminAs("*", subject))
	}
	for _, service := range []string{n.Service(), n.AdminService()} { // what every NATS micro service answers
		may.subscribe = append(may.subscribe, "$SRV.*", "$SRV.*."+service, "$SRV.*."+service+".*")
	}
	for _, v := range []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm} {
		s, c := n.Stream(v), n.Consumer(v)
		may.publish = append(may.publish, kept(s)...)
		may.publish = append(may.publish,
			"$JS.API.CONSUMER.CREATE."+s+"."+c, "$JS.API.CONSUMER.INFO."+s+"."+c, "$JS.API.CONSUMER.MSG.NEXT."+s+"."+c,
			"$JS.ACK."+s+"."+c+".>")
	}
	// Whether a confirmation, or a renewal, waits that nobody has read yet.
	may.publish = append(may.publish, "$JS.API.STREAM.MSG.GET."+n.Stream(messages.VerbConfirm), "$JS.API.STREAM.MSG.GET."+n.Stream(messages.VerbRenew))
	may.publish = append(may.publish, kept(n.EventStream())...)
	// What the events tell of a lease. It is told once, also where a broker has died or
	// the bucket was restored.
	may.publish = append(may.publish, eventHistory(n)+"."+n.EventFilter())
	for _, b := range []string{n.LeaseBucket(), n.SecretBucket(), n.StateBucket()} {
		may.publish = append(may.publish, kept("KV_"+b)...)
		may.publish = append(may.publish, read(b)...)
		may.publish = append(may.publish, watched(b)...)
	}
	// The reserve. A right to purge is one to purge everything that a bucket has: what
	// of it stands in the body.
	may.publish = append(may.publish, "$JS.API.STREAM.PURGE.KV_"+n.StateBucket())
	may.publish = append(may.publish, "$KV."+n.LeaseBucket()+".*.*.*", "$KV."+n.SecretBucket()+".*", "$KV."+n.StateBucket()+".>")
	return may
}

// schedulerMay is what the scheduler may do: watch the lease bucket, and publish reminders.
func schedulerMay(n messages.Namespace, name string) Permissions {
	may := Permissions{publish: []string{n.VerbFilter(messages.VerbRevoke)}, subscribe: inbox(name)}
	may.publish = append(may.publish, watched(n.LeaseBucket())...)
	may.publish = append(may.publish, "$JS.API.STREAM.INFO.KV_"+n.LeaseBucket())
	return may
}

// sweeperMay is what comparing AWS with the leases takes, beyond AWS's own rights: it
// reads leases and connections, writes down what it found, and tells.
func sweeperMay(n messages.Namespace, name string) Permissions {
	may := Permissions{publish: []string{"$KV." + n.StateBucket() + ".>", n.EventFilter()}, subscribe: inbox(name)}
	may.publish = append(may.publish, read(n.StateBucket())...)
	may.publish = append(may.publish, read(n.LeaseBucket())...)
	may.publish = append(may.publish, watched(n.LeaseBucket())...)
	return may
}

// kept is what making a stream takes, and bringing it up to date.
func kept(stream string) []string {
	return []string{"$JS.API.STREAM.INFO." + stream, "$JS.API.STREAM.CREATE." + stream, "$JS.API.STREAM.UPDATE." + stream}
}

// read is what reading single keys of a bucket takes, from its leader.
func read(bucket string) []string {
	return []string{"$JS.API.STREAM.INFO.KV_" + bucket, "$JS.API.STREAM.MSG.GET.KV_" + bucket}
}

// watched is what following a bucket takes: a consumer that goes with the watch, and
// the answers to the server's flow control.
func watched(bucket string) []string {
	s := "KV_" + bucket
	return []string{"$JS.API.CONSUMER.CREATE." + s + ".*.$KV." + bucket + ".>", "$JS.API.CONSUMER.DELETE." + s + ".*", "$JS.FC." + s + ".>"}
}

// together are the permissions of several roles, each once.
func together(roles ...Permissions) Permissions {
	var all Permissions
	for _, r := range roles {
		all.publish = append(all.publish, r.publish...)
		all.subscribe = append(all.subscribe, r.subscribe...)
	}
	for _, list := range []*[]string{&all.publish, &all.subscribe} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return all
}
