// Command etcd-lock runs a command while it holds an exclusive lock of berth in etcd. It follows the layout of
// docs/lock-layout.md, with etcd's own client and nothing of berth.
//
//	PREFIX=/berth TTL=15 ENDPOINTS=n1:2379,n2:2379 etcd-lock NAME COMMAND…
//
// It exits with the code of the command; with 2 for a TTL that can't be used; with 4 if somebody has disabled the
// lock; with 5 if the lock was lost, which kills the command and everything that it has started; with 6 if etcd does
// not answer.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

var (
	errDisabled = errors.New("the lock is disabled")
	errLost     = errors.New("the lock was lost")
)

// Lock is a held lock. Its context ends when nobody can prove any more that it is held.
type Lock struct {
	Name    string
	client  *clientv3.Client
	prefix  string
	name    string // Encoded, as in keys.
	lease   clientv3.LeaseID
	ttl     time.Duration
	history string
	// Token is larger for each later holder: storage that compares it keeps earlier holders out.
	Token int64
	// provenAt is the time before the last request that has proved the lock. It is monotonic.
	provenAt time.Time
}

// Acquire waits until the lock is held. Nothing is left in etcd when it fails.
func Acquire(ctx context.Context, client *clientv3.Client, prefix, name string, ttl time.Duration, detail string) (*Lock, error) {
	l := &Lock{Name: name, client: client, prefix: prefix, name: escape(name), ttl: ttl}
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	if err := l.queue(ctx, detail); err != nil {
		l.Release()
		return nil, err
	}
	if err := l.wait(ctx); err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

// open grants the session's lease and reads in which history it is (rule 1).
func (l *Lock) open(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, l.ttl/3)
	defer cancel()
	current, longest, err := l.currentHistory(limited)
	if err != nil {
		return err
	}
	if longest != 0 && l.ttl > longest {
		return fmt.Errorf("use a TTL of at most %s", longest)
	}
	l.history = current
	l.provenAt = time.Now()
	granted, err := l.client.Grant(limited, int64(l.ttl/time.Second))
	if err != nil {
		return err
	}
	l.lease = granted.ID
	return nil
}

// queue writes the ticket, unless the lock is disabled (rule 2).
func (l *Lock) queue(ctx context.Context, detail string) error {
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	type lock struct {
		Name string `json:"name"`
		Mode string `json:"mode"`
	}
	type holder struct {
		Host   string `json:"host"`
		Reason string `json:"reason"`
		Since  string `json:"since"`
		Detail string `json:"detail"`
	}
	ticket, err := json.Marshal(struct {
		Nonce   string `json:"nonce"`
		Session string `json:"session"`
		Locks   []lock `json:"locks"`
		Kind    string `json:"kind"`
		Owner   string `json:"owner"`
		Holder  holder `json:"holder"`
	}{
		Nonce:   hex.EncodeToString(nonce),
		Session: strconv.FormatInt(int64(l.lease), 10),
		Locks:   []lock{{l.Name, "exclusive"}},
		Kind:    "go",
		Owner:   "go." + host,
		Holder:  holder{host, "go", time.Now().UTC().Format(time.RFC3339), detail},
	})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, l.ttl/3)
	defer cancel()
	// A lost answer fails the request, and `Release` revokes the lease with the ticket that may be there.
	answer, err := l.client.Txn(limited).
		If(absent(l.ticketKey()), absent(l.gateKey())).
		Then(clientv3.OpPut(l.ticketKey(), string(ticket), clientv3.WithLease(l.lease))).
		Commit()
	if err != nil {
		return err
	}
	if !answer.Succeeded {
		return errDisabled
	}
	l.Token = answer.Header.Revision
	return nil
}

// wait returns when no conflicting ticket is lower (rule 3).
func (l *Lock) wait(ctx context.Context) error {
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	changes := l.client.Watch(watching, l.prefix+"/locks/"+l.name+"/", clientv3.WithPrefix(), clientv3.WithRev(l.Token+1))
	renewals := time.NewTicker(l.ttl / 5)
	defer renewals.Stop()
	for {
		isOurs, err := l.look(ctx)
		if err != nil {
			return err
		}
		if isOurs {
			return l.Prove(ctx)
		}
		select {
		case _, isOpen := <-changes:
			if !isOpen {
				changes = nil // The watch has ended. The ticker goes on.
			}
		// The session is renewed while the request waits. The look after it covers a broken watch and a quarantine.
		case <-renewals.C:
			if err := l.Prove(ctx); err != nil && (errors.Is(err, errLost) || l.Left() <= 0) {
				return errLost
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look asks in one step whether the lock is ours. An error other than a verdict is as good as "not yet".
func (l *Lock) look(ctx context.Context) (bool, error) {
	limited, cancel := context.WithTimeout(ctx, l.ttl/5)
	defer cancel()
	all := clientv3.OpGet(l.prefix+"/locks/"+l.name+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithMaxCreateRev(l.Token-1))
	answer, err := l.client.Txn(limited).
		If(l.stands(), absent(l.gateKey()), absent(l.prefix+"/history/quarantine")).
		Then(all).
		Else(clientv3.OpGet(l.gateKey(), clientv3.WithCountOnly())).
		Commit()
	if err != nil {
		return false, ctx.Err()
	}
	found := answer.Responses[0].GetResponseRange().Count
	if !answer.Succeeded && found > 0 {
		return false, errDisabled
	}
	return answer.Succeeded && len(answer.Responses[0].GetResponseRange().Kvs) == 0, nil
}

// Prove renews the session and proves that the ticket stands, in the history in which it was queued (rule 4).
func (l *Lock) Prove(ctx context.Context) error {
	before := time.Now()
	limited, cancel := context.WithTimeout(ctx, l.ttl/5)
	defer cancel()
	_, renewal := l.client.KeepAliveOnce(limited, l.lease)
	answer, err := l.client.Txn(limited).If(l.stands()).Commit()
	if err != nil {
		return err
	}
	current, _, err := l.currentHistory(limited)
	if err != nil {
		return err
	}
	if !answer.Succeeded || current != l.history {
		return errLost
	}
	if renewal == nil {
		l.provenAt = before
	}
	return renewal
}

// Left returns for how long the lock is known to be held: two thirds of the TTL from the last proof on.
func (l *Lock) Left() time.Duration {
	return time.Until(l.provenAt.Add(l.ttl * 2 / 3))
}

// Hold proves the lock again and again. It returns errLost when that has not succeeded in time.
func (l *Lock) Hold(ctx context.Context) error {
	for {
		pause := l.ttl / 5
		if left := l.Left(); left < pause {
			pause = left
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		limited, cancel := context.WithDeadline(ctx, l.provenAt.Add(l.ttl*2/3))
		err := l.Prove(limited)
		cancel()
		if ctx.Err() == nil && (errors.Is(err, errLost) || l.Left() <= 0) {
			return errLost
		}
	}
}

// Release revokes the lease, and the ticket with it (rule 6). If etcd is away, both end with the TTL.
func (l *Lock) Release() {
	limited, cancel := context.WithTimeout(context.Background(), l.ttl/3)
	defer cancel()
	if _, err := l.client.Revoke(limited, l.lease); err != nil {
		fmt.Fprintln(os.Stderr, "etcd-lock: the lock is free after its TTL:", err)
	}
}

func (l *Lock) ticketKey() string {
	return fmt.Sprintf("%s/locks/%s/x/%d-0", l.prefix, l.name, l.lease)
}

func (l *Lock) gateKey() string { return l.prefix + "/locks/" + l.name + "/z" }

func (l *Lock) stands() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(l.ticketKey()), "=", l.Token)
}

func absent(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
}

func (l *Lock) currentHistory(ctx context.Context) (id string, longest time.Duration, err error) {
	answer, err := l.client.Get(ctx, l.prefix+"/history/current")
	if err != nil || len(answer.Kvs) == 0 {
		return "", 0, err
	}
	var current struct {
		ID    string  `json:"id"`
		TTLMs float64 `json:"ttlMs"`
	}
	err = json.Unmarshal(answer.Kvs[0].Value, &current)
	return current.ID, time.Duration(current.TTLMs) * time.Millisecond, err
}

// escape encodes a name as JavaScript's encodeURIComponent does.
func escape(name string) string {
	var encoded strings.Builder
	for _, b := range []byte(name) {
		if b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || strings.IndexByte("-_.!~*'()", b) >= 0 {
			encoded.WriteByte(b)
		} else {
			fmt.Fprintf(&encoded, "%%%02X", b)
		}
	}
	return encoded.String()
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: etcd-lock NAME COMMAND…")
		os.Exit(2)
	}
	code, err := run(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd-lock:", err)
	}
	os.Exit(code)
}

func run(name string, command []string) (int, error) {
	ttl, err := strconv.Atoi(valueOf("TTL", "15"))
	if err != nil || ttl < 2 {
		return 2, errors.New("use a TTL of 2 s or more")
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   strings.Split(valueOf("ENDPOINTS", "localhost:2379"), ","),
		DialTimeout: 5 * time.Second,
	})
	if err != nil {
		return 6, err
	}
	defer client.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	lock, err := Acquire(ctx, client, valueOf("PREFIX", "/berth"), name, time.Duration(ttl)*time.Second, strings.Join(command, " "))
	switch {
	case errors.Is(err, errDisabled):
		return 4, fmt.Errorf("the lock %s is disabled", name)
	case errors.Is(err, errLost):
		return 5, fmt.Errorf("the request for the lock %s was lost", name)
	case err != nil:
		return 6, err
	}
	defer lock.Release()
	return runUnder(ctx, lock, command)
}

// runUnder runs the command in a process group of its own, which is killed before the lease can end.
func runUnder(ctx context.Context, lock *Lock, command []string) (int, error) {
	child := exec.Command(command[0], command[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Env = append(os.Environ(), fmt.Sprintf("BERTH_LOCK_TOKEN=%d", lock.Token))
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(); err != nil {
		return 127, err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	holding, cancel := context.WithCancel(ctx)
	defer cancel()
	lost := make(chan error, 1)
	go func() { lost <- lock.Hold(holding) }()
	select {
	case <-ended:
		return child.ProcessState.ExitCode(), nil
	case <-lost:
		_ = syscall.Kill(-child.Process.Pid, syscall.SIGKILL)
		<-ended
		if ctx.Err() != nil {
			return 143, nil
		}
		return 5, fmt.Errorf("the lock %s was lost: the command was killed", lock.Name)
	}
}

func valueOf(variable, otherwise string) string {
	if value := os.Getenv(variable); value != "" {
		return value
	}
	return otherwise
}
