// Package admin is the NATS micro service for operators: the endpoints
// lessor.admin.secret.…, lessor.admin.lease.…, lessor.admin.{sweep,restore,key}, and all
// of them as lessor.admin.as.<operator>.…, so that NATS permissions decide under which
// name an operator's commands are audited. Requesters have no right to these subjects.
//
// Every command goes through [Service.serve], which admits and answers it, and
// [Service.audited], which emits the events about it: a command that changes something
// is in the event stream before it is carried out, and with its outcome afterwards. It is
// not carried out if the first event can't be emitted. Of the others only refusals are
// audited.
//
// The handlers decode nothing and answer nothing. What they do is done by other
// components, which [Config] names.
//
// Life cycle: [Open], then [Service.Stop] to receive no more commands, and
// [Service.Wait] for those that are carried out.
package admin
