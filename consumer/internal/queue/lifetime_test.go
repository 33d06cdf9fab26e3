package queue

import (
	"testing"
)

func TestLifetimeEndsRunningBeforeBase(t *testing.T) {
	t.Parallel()
	l := NewLifetime()
	if l.Running().Err() != nil || l.Base().Err() != nil {
		t.Fatal("ended before the stop")
	}
	interrupted, finish := make(chan struct{}), make(chan struct{})
	l.Go(func() {
		<-l.Running().Done()
		close(interrupted)
		<-finish
	})
	l.Stop()
	<-interrupted
	if l.Base().Err() != nil {
		t.Error("the stop has no patience")
	}
	waited := make(chan struct{})
	go func() { l.Wait(); close(waited) }()
	select {
	case <-waited:
		t.Error("Wait returned while a goroutine was running")
	default:
	}
	close(finish)
	<-waited
	l.Abort()
	if l.Base().Err() == nil {
		t.Error("Abort has not ended Base")
	}
}

func TestLifetimeAbortEndsEverything(t *testing.T) {
	t.Parallel()
	l := NewLifetime()
	l.Abort()
	<-l.Running().Done()
	<-l.Base().Done()
}
