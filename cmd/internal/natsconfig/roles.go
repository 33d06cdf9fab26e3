package natsconfig

import (
	"slices"

	"github.com/lessorhq/lessor/messages"
)

// brokerPermissions are those of a broker, which is worker, scheduler and sweeper on one
// connection.
func brokerPermissions(n messages.Namespace, name string) Permissions {
	return union(workerPermissions(n, name), schedulerPermissions(n, name), sweeperPermissions(n, name))
}

// workerPermissions are those for the handling of messages: the streams and buckets, which
// the worker creates, the API and the admin service.
func workerPermissions(n messages.Namespace, name string) Permissions {
	may := Permissions{publish: []string{
		// Replies and deliveries. Requesters are in other accounts, so the server replaces
		// their inboxes by subjects of this form.
		"_R_.>",
		n.VerbFilter(messages.VerbRequest), n.VerbFilter(messages.VerbRenew), n.VerbFilter(messages.VerbRevoke),
		n.EventFilter(),
	}, subscribe: append(inbox(name),
		n.API("request", "*", "*"), n.API("renew", "*", "*", "*"), n.API("revoke", "*", "*", "*"),
		n.API("get", "*", "*", "*"), n.API("list", "*"),
		n.VerbFilter(messages.VerbConfirm), // "no responders" to a delivery comes there
	)}
	for _, subject := range adminSubjects(n) {
		may.subscribe = append(may.subscribe, subject, n.AdminAs("*", subject))
	}
	for _, service := range []string{n.Service(), n.AdminService()} { // the monitoring subjects of NATS micro services
		may.subscribe = append(may.subscribe, "$SRV.*", "$SRV.*."+service, "$SRV.*."+service+".*")
	}
	for _, v := range []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm} {
		s, c := n.Stream(v), n.Consumer(v)
		may.publish = append(may.publish, streamSubjects(s)...)
		may.publish = append(may.publish,
			"$JS.API.CONSUMER.CREATE."+s+"."+c, "$JS.API.CONSUMER.INFO."+s+"."+c, "$JS.API.CONSUMER.MSG.NEXT."+s+"."+c,
			"$JS.ACK."+s+"."+c+".>")
	}
	// Whether a confirmation or a renewal is stored that no worker has read yet.
	may.publish = append(may.publish, "$JS.API.STREAM.MSG.GET."+n.Stream(messages.VerbConfirm), "$JS.API.STREAM.MSG.GET."+n.Stream(messages.VerbRenew))
	may.publish = append(may.publish, streamSubjects(n.EventStream())...)
	// The events about a lease. Each is emitted once, also after a crash of a broker or a
	// restore of the bucket.
	may.publish = append(may.publish, eventHistory(n)+"."+n.EventFilter())
	for _, b := range []string{n.LeaseBucket(), n.SecretBucket(), n.StateBucket()} {
		may.publish = append(may.publish, streamSubjects("KV_"+b)...)
		may.publish = append(may.publish, readSubjects(b)...)
		may.publish = append(may.publish, watchSubjects(b)...)
	}
	// The free-space reserve. The permission is for any purge of the bucket: what is purged
	// is in the body of the request.
	may.publish = append(may.publish, "$JS.API.STREAM.PURGE.KV_"+n.StateBucket())
	may.publish = append(may.publish, "$KV."+n.LeaseBucket()+".*.*.*", "$KV."+n.SecretBucket()+".*", "$KV."+n.StateBucket()+".>")
	return may
}

// schedulerPermissions are those for reminders of due leases.
func schedulerPermissions(n messages.Namespace, name string) Permissions {
	may := Permissions{publish: []string{n.VerbFilter(messages.VerbRevoke)}, subscribe: inbox(name)}
	may.publish = append(may.publish, watchSubjects(n.LeaseBucket())...)
	may.publish = append(may.publish, "$JS.API.STREAM.INFO.KV_"+n.LeaseBucket())
	return may
}

// sweeperPermissions are those for the comparison of AWS with the leases: it reads leases
// and connections, stores the result and emits events.
func sweeperPermissions(n messages.Namespace, name string) Permissions {
	may := Permissions{publish: []string{"$KV." + n.StateBucket() + ".>", n.EventFilter()}, subscribe: inbox(name)}
	may.publish = append(may.publish, readSubjects(n.StateBucket())...)
	may.publish = append(may.publish, readSubjects(n.LeaseBucket())...)
	may.publish = append(may.publish, watchSubjects(n.LeaseBucket())...)
	return may
}

// streamSubjects returns the subjects for creating and updating a stream.
func streamSubjects(stream string) []string {
	return []string{"$JS.API.STREAM.INFO." + stream, "$JS.API.STREAM.CREATE." + stream, "$JS.API.STREAM.UPDATE." + stream}
}

// readSubjects returns the subjects for reading single keys of a bucket from its leader.
func readSubjects(bucket string) []string {
	return []string{"$JS.API.STREAM.INFO.KV_" + bucket, "$JS.API.STREAM.MSG.GET.KV_" + bucket}
}

// watchSubjects returns the subjects for watching a bucket: a consumer, and replies to the
// server's flow control.
func watchSubjects(bucket string) []string {
	s := "KV_" + bucket
	return []string{"$JS.API.CONSUMER.CREATE." + s + ".*.$KV." + bucket + ".>", "$JS.API.CONSUMER.DELETE." + s + ".*", "$JS.FC." + s + ".>"}
}

// union returns the permissions of several roles, each subject once.
func union(roles ...Permissions) Permissions {
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
