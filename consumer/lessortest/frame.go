package lessortest

import (
	"bytes"
	"strconv"
	"strings"
)

// parseFrame measures the first frame of the NATS client protocol in b; 0 if it is not
// complete. effect is "" unless the frame is a message that has an effect: not a request
// to the JetStream API, nor a sign that a task is in progress. It is the message's
// subject; of an acknowledgement it is the stream and the kind of the acknowledgement.
func parseFrame(b []byte) (size int, effect string) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		return 0, ""
	}
	size = end + 2
	words := strings.Fields(string(b[:end]))
	if len(words) == 0 || (words[0] != "PUB" && words[0] != "HPUB") {
		return size, ""
	}
	payload, err := strconv.Atoi(words[len(words)-1])
	if err != nil {
		panic("not a frame of the NATS protocol: " + string(b[:end]))
	}
	head := size
	if size += payload + 2; len(b) < size {
		return 0, ""
	}
	subject, body := words[1], string(b[head:size-2])
	if strings.HasPrefix(subject, "$JS.API.") || body == "+WPI" {
		return size, ""
	}
	if strings.HasPrefix(subject, "$JS.ACK.") {
		subject = "$JS.ACK." + strings.Split(subject, ".")[2] + " " + strings.Fields(body)[0]
	}
	return size, subject
}
