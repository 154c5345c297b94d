// An outside participant in Go that follows only the AsyncAPI document (`makegood asyncapi payout`):
// it takes payouts from the bank, pays each once, and answers.
//
// What it has done stands in one file, written and synced before an answer goes out; read back at
// the start. So it runs as one process: several would need a store that they share.
//
// KAFKA_BOOTSTRAP, TOPIC_PREFIX and EFFECTS_FILE say where everything is. It stops on SIGTERM.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const horizon = 7 * 24 * time.Hour

// Command holds what SendPayout and Enquire have; fields that are not known are ignored.
type Command struct {
	Type            string `json:"type"`
	EffectID        string `json:"effect_id"`
	IssuedAtMS      int64  `json:"issued_at_ms"`
	Attempt         int64  `json:"attempt"`
	SagaID          string `json:"saga_id"`
	Step            string `json:"step"`
	Direction       string `json:"direction"`
	ReplyTo         string `json:"reply_to"`
	CreditorAccount string `json:"creditor_account"`
	AmountMinor     int64  `json:"amount_minor"`
	Currency        string `json:"currency"`
}

// Outcome is what became of an effect: applied, or declined with Reason.
type Outcome struct {
	EffectID  string `json:"effect_id"`
	Attempt   int64  `json:"attempt"`
	Reason    string `json:"reason,omitempty"`
	Reference string `json:"reference,omitempty"`
}

// Answer is StepApplied when Reason is empty, StepDeclined otherwise.
type Answer struct {
	Type      string            `json:"type"`
	SagaID    string            `json:"saga_id"`
	Step      string            `json:"step"`
	Direction string            `json:"direction"`
	Attempt   int64             `json:"attempt"`
	Result    map[string]string `json:"result,omitempty"`
	Reason    string            `json:"reason,omitempty"`
}

// Provider remembers every outcome by effect id.
type Provider struct {
	outcomes map[string]Outcome
	file     *os.File
}

func open(path string) (*Provider, error) {
	outcomes := map[string]Outcome{}
	old, err := os.Open(path)
	if err == nil {
		lines := bufio.NewScanner(old)
		for lines.Scan() {
			var outcome Outcome
			// A line that a crash cut off was not synced, so nobody was told of it.
			if json.Unmarshal(lines.Bytes(), &outcome) == nil {
				outcomes[outcome.EffectID] = outcome
			}
		}
		if err := errors.Join(lines.Err(), old.Close()); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	// After a line that was cut off the next one begins anew.
	_, err = file.WriteString("\n")
	return &Provider{outcomes, file}, err
}

// take does what a command asks for, once, and gives the answer to it.
func (p *Provider) take(command Command) (Outcome, error) {
	known, found := p.outcomes[command.EffectID]
	expired := time.Since(time.UnixMilli(command.IssuedAtMS)) >= horizon
	enquiry := command.Type == "participant.Enquire.v1"
	switch {
	case found && (known.Reason == "" || command.Attempt <= known.Attempt):
		return known, nil
	case found && enquiry:
		// Told to be declined: a command that the enquiry has overtaken must not be done any more.
		known.Attempt = command.Attempt
		return known, p.remember(known)
	case !found && expired:
		return Outcome{Reason: "effect_expired"}, nil
	case enquiry:
		return Outcome{Reason: "effect_unknown"}, nil
	}
	outcome := pay(command)
	return outcome, p.remember(outcome)
}

// remember makes an outcome last; nobody is told of it before.
func (p *Provider) remember(outcome Outcome) error {
	line, err := json.Marshal(outcome)
	if err == nil {
		_, err = p.file.Write(append(line, '\n'))
	}
	if err == nil {
		err = p.file.Sync()
	}
	if err == nil {
		p.outcomes[outcome.EffectID] = outcome
	}
	return err
}

// pay stands for the network that carries the money out. It must do an effect id once.
func pay(command Command) Outcome {
	outcome := Outcome{EffectID: command.EffectID, Attempt: command.Attempt}
	if !strings.HasPrefix(command.CreditorAccount, "DE") {
		outcome.Reason = "country_not_served"
		return outcome
	}
	outcome.Reference = "paid-" + command.EffectID
	log.Printf("paid %s: %d %s", command.EffectID, command.AmountMinor, command.Currency)
	return outcome
}

func answer(command Command, outcome Outcome) Answer {
	told := Answer{
		Type: "saga.StepApplied.v1", SagaID: command.SagaID, Step: command.Step,
		Direction: command.Direction, Attempt: command.Attempt,
	}
	if outcome.Reason != "" {
		told.Type, told.Reason = "saga.StepDeclined.v1", outcome.Reason
	} else {
		told.Result = map[string]string{"reference": outcome.Reference}
	}
	return told
}

func run(ctx context.Context) error {
	prefix := os.Getenv("TOPIC_PREFIX")
	provider, err := open(os.Getenv("EFFECTS_FILE"))
	if err != nil {
		return err
	}
	defer provider.file.Close()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Getenv("KAFKA_BOOTSTRAP"), ",")...),
		kgo.ConsumerGroup(prefix+"payout.provider"),
		kgo.ConsumeTopics(prefix+"payout.input"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		// murmur2 of the key, as in Kafka's Java client: the default, named because it matters.
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			log.Printf("fetch %s/%d: %v", topic, partition, err)
		})
		var answers []*kgo.Record
		for _, record := range fetches.Records() {
			var command Command
			if err := json.Unmarshal(record.Value, &command); err != nil || command.ReplyTo == "" {
				log.Printf("not for us: %s/%d@%d: %v", record.Topic, record.Partition, record.Offset, err)
				continue
			}
			outcome, err := provider.take(command)
			if err != nil {
				return err
			}
			value, err := json.Marshal(answer(command, outcome))
			if err != nil {
				return err
			}
			answers = append(answers, &kgo.Record{
				Topic: prefix + command.ReplyTo, Key: []byte(command.SagaID), Value: value,
			})
		}
		// Offsets last: what is not answered is read again, and answered from memory.
		if err := client.ProduceSync(ctx, answers...).FirstErr(); err != nil {
			return err
		}
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			log.Printf("offsets not committed, to be read again: %v", err)
		}
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}
