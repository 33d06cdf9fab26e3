// Package bucket is how the broker uses a NATS key-value bucket: reads from the
// leader, writes by compare-and-set, scans and watches. It also says what errors of
// JetStream mean. Requesters do not need it.
//
// A [Bucket] works on the bucket's stream rather than on [jetstream.KeyValue],
// because that can't give an existing key a TTL, reads from followers where
// AllowDirect is set, and knows one of the two codes of a lost race only.
//
// [Bucket.Scan] visits every key once; unlike a watch that is read up to its first
// nil entry it also visits keys that are written while it begins. [Watcher.Run] keeps
// a copy of a bucket up to date for as long as its context lives.
package bucket
