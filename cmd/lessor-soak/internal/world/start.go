package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/internal/poll"
	"github.com/lessorhq/lessor/cmd/internal/proc"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/account"
	"github.com/lessorhq/lessor/messages"
)

func (w *World) startAWS(ctx context.Context) error {
	addresses, err := proc.FreeAddresses(2)
	if err != nil {
		return err
	}
	w.AWSURL, w.Control = "http://"+addresses[0], account.Control{URL: "http://" + addresses[1]}
	w.aws = w.process("aws", []string{"aws", "--listen", addresses[0], "--control", addresses[1]}, nil)
	if err := w.aws.Start(); err != nil {
		return err
	}
	return poll.Within(ctx, startTimeout, "AWS is up", func() error { return w.Control.SetFaults(ctx, NoFaults) })
}

// startNodes starts the NATS servers and waits until they are a cluster.
func (w *World) startNodes(ctx context.Context) error {
	addresses, err := proc.FreeAddresses(2 * Nodes)
	if err != nil {
		return err
	}
	clients, routes := addresses[:Nodes], addresses[Nodes:]
	for i := range Nodes {
		name := fmt.Sprintf("nats%d", i+1)
		n := w.process(name, []string{
			"node", "--name", name, "--store", filepath.Join(w.Dir, name),
			"--listen", clients[i], "--cluster", routes[i], "--routes", strings.Join(routes, ","),
		}, nil)
		if err := n.Start(); err != nil {
			return err
		}
		w.Nodes = append(w.Nodes, n)
		w.nodeAddresses = append(w.nodeAddresses, clients[i])
	}
	if err := poll.Within(ctx, startTimeout, "NATS is up", func() (err error) { w.conn, err = w.Connect("auditor"); return err }); err != nil {
		return err
	}
	if w.JS, err = jetstream.New(w.conn); err != nil {
		return err
	}
	err = poll.Within(ctx, startTimeout, "the NATS servers are a cluster", func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := w.JS.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "soak", Subjects: []string{"soak"}, Replicas: Nodes})
		return err
	})
	if err != nil {
		return err
	}
	return w.JS.DeleteStream(ctx, "soak")
}

// startProxies starts a proxy between each broker and each NATS server.
func (w *World) startProxies(context.Context) error {
	for b := range Brokers {
		w.Proxies = append(w.Proxies, nil)
		for _, server := range w.nodeAddresses {
			p, err := newProxy(server)
			if err != nil {
				return err
			}
			w.Proxies[b] = append(w.Proxies[b], p)
		}
	}
	return nil
}

// startBrokers starts the brokers, with one key and the same definitions.
func (w *World) startBrokers(ctx context.Context) error {
	secrets, keyFile := filepath.Join(w.Dir, "secrets"), filepath.Join(w.Dir, "broker.key")
	key, err := messages.NewKey()
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return err
	}
	if err := writeDefinitions(secrets); err != nil {
		return err
	}
	if w.Health, err = proc.FreeAddresses(Brokers); err != nil {
		return err
	}
	for i := range Brokers {
		if err := w.startBroker(ctx, i, keyFile, secrets); err != nil {
			return err
		}
		// One after the other: of two brokers that create the same stream at the same time,
		// a cluster may answer only one.
		if err := w.WaitReady(ctx, 2*startTimeout); err != nil {
			return err
		}
	}
	return nil
}

// writeDefinitions writes the definitions that the brokers read at their start.
func writeDefinitions(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		Hard: Definition(Hard, messages.HardExpiryLease, "method: default"),
		Soft: Definition(Soft, messages.HardExpiryNone, "method: default"),
		Role: sessionDefinition,
	} {
		if err := os.WriteFile(filepath.Join(folder, name+".yaml"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) startBroker(ctx context.Context, i int, keyFile, secrets string) error {
	name := fmt.Sprintf("broker%d", i+1)
	key, err := w.Control.AddPrincipal(ctx, name)
	if err != nil {
		return err
	}
	var servers []string
	for _, p := range w.Proxies[i] {
		servers = append(servers, p.url())
	}
	b := w.process(name, []string{
		"broker", "--server", strings.Join(servers, ","), "--key-file", keyFile, "--secrets", secrets,
		"--health", w.Health[i], "--clock-skew", clockSkews[i].String(),
	}, []string{
		"AWS_ENDPOINT_URL=" + w.AWSURL, "AWS_ACCESS_KEY_ID=" + key[0], "AWS_SECRET_ACCESS_KEY=" + key[1],
	})
	if err := b.Start(); err != nil {
		return err
	}
	w.Brokers = append(w.Brokers, b)
	return nil
}
