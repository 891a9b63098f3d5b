package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// messageSize is the length of a message in the echo rows.
const messageSize = 64

// reply is what the HTTP server answers.
const reply = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n"

// listen returns a listener on a port of the kernel's choice. Keep-alive probes are off: Go alone would spend system calls on them.
func listen() net.Listener {
	config := net.ListenConfig{KeepAlive: -1}
	listener, err := config.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	check(err == nil, "no port")
	return listener
}

// server lets each connection be served by a goroutine, puts the row's load on that, and returns what the load
// printed: operations per second, and the nanoseconds of CPU time of this process for each. If it printed "ready", atRest is called
// before the load ends.
func server(row string, connections int, serve func(net.Conn), atRest func()) (rate, cpu float64) {
	// Go has raised the soft limit by itself.
	var limit syscall.Rlimit
	check(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil, "getrlimit")
	need := uint64(connections + 100)
	check(limit.Cur >= need, fmt.Sprintf(
		"the hard limit of open files (RLIMIT_NOFILE, `ulimit -Hn`) is %d; %d are needed", limit.Max, need))
	listener := listen()
	go func() {
		for {
			conn, err := listener.Accept()
			check(err == nil, "accept")
			go func() {
				serve(conn)
				conn.Close()
			}()
		}
	}()
	load := exec.Command(os.Getenv("GORT_BENCH_LOAD"), "load", row, listener.Addr().String())
	load.Stderr = os.Stderr
	stdin, err := load.StdinPipe()
	check(err == nil, "no pipe")
	stdout, err := load.StdoutPipe()
	check(err == nil, "no pipe")
	check(load.Start() == nil, "cannot start GORT_BENCH_LOAD, which names the program gort-bench")
	said, _ := bufio.NewReader(stdout).ReadString('\n')
	said = strings.TrimSpace(said)
	if said == "ready" && atRest != nil {
		atRest()
	} else {
		count, err := fmt.Sscan(said, &rate, &cpu)
		check(err == nil && count == 2, "the load printed no rate")
	}
	stdin.Close()
	check(load.Wait() == nil, "the load failed")
	return rate, cpu
}

// echo sends back what comes, message by message, until the connection ends.
func echo(conn net.Conn) {
	message := make([]byte, messageSize)
	for {
		if _, err := io.ReadFull(conn, message); err != nil {
			return
		}
		if _, err := conn.Write(message); err != nil {
			return
		}
	}
}

// answerOnce sends one message back.
func answerOnce(conn net.Conn) {
	message := make([]byte, messageSize)
	if _, err := io.ReadFull(conn, message); err == nil {
		conn.Write(message)
	}
}

// header is a line of a request.
type header struct {
	name, value []byte
}

// requestLength parses the request at the start of data by hand, as far as httparse does for the Rust peers: method, path, version,
// and up to 16 headers. It returns the request's length, or 0 if it is not complete. It panics if this is no request for "/".
func requestLength(data []byte) int {
	if !bytes.Contains(data, []byte("\r\n\r\n")) {
		return 0
	}
	var headers [16]header
	count, at := 0, 0
	for {
		end := at + bytes.Index(data[at:], []byte("\r\n"))
		line := data[at:end]
		first := at == 0
		at = end + 2
		if len(line) == 0 {
			return at
		}
		if first {
			method, rest, found := bytes.Cut(line, []byte(" "))
			path, version, found2 := bytes.Cut(rest, []byte(" "))
			check(found && found2 && string(version) == "HTTP/1.1", "not a request")
			check(string(method) == "GET" && string(path) == "/", "another request")
			continue
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		check(found && count < len(headers), "not a header")
		headers[count] = header{name, bytes.TrimLeft(value, " ")}
		count++
	}
}

// http answers each request, until the connection ends.
func http(conn net.Conn) {
	buffer := make([]byte, 1024)
	answer := []byte(reply)
	filled := 0
	for {
		count, err := conn.Read(buffer[filled:])
		if err != nil || count == 0 {
			return
		}
		filled += count
		for filled > 0 {
			length := requestLength(buffer[:filled])
			if length == 0 {
				break
			}
			copy(buffer, buffer[length:filled])
			filled -= length
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}
}

// usage returns the CPU time of the process and how often its threads gave up their CPUs because they waited.
func usage() (time.Duration, int64) {
	var u syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil, "getrusage")
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Nvcsw
}

// idle returns, with 10,000 idle connections, the bytes for each, the per cent of a CPU, and the context switches per second.
func idle(row string) (held, cpu, switches float64) {
	connections := scaled(10_000)
	server(row, connections, echo, func() {
		held = float64(heldBytes()-heldAtStart) / float64(connections)
		time.Sleep(time.Duration(scale * float64(3*time.Second)))
		start := time.Now()
		cpuBefore, switchesBefore := usage()
		time.Sleep(time.Duration(scale * float64(3*time.Second)))
		seconds := time.Since(start).Seconds()
		cpuAfter, switchesAfter := usage()
		cpu = 100 * (cpuAfter - cpuBefore).Seconds() / seconds
		switches = float64(switchesAfter-switchesBefore) / seconds
	})
	return
}

// roundTrip returns the nanoseconds for a message from one goroutine to another and back, over one connection.
func roundTrip() float64 {
	return perOp(func(n int) time.Duration {
		listener := listen()
		near, err := net.Dial("tcp4", listener.Addr().String())
		check(err == nil, "no connection")
		far, err := listener.Accept()
		check(err == nil, "no other end")
		listener.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			message := make([]byte, messageSize)
			for i := 0; i < n; i++ {
				_, err := io.ReadFull(far, message)
				check(err == nil, "no message")
				_, err = far.Write(message)
				check(err == nil, "no answer sent")
			}
		}()
		message, answer := make([]byte, messageSize), make([]byte, messageSize)
		start := time.Now()
		for i := 0; i < n; i++ {
			binary.LittleEndian.PutUint64(message, uint64(i))
			_, err := near.Write(message)
			check(err == nil, "no message sent")
			_, err = io.ReadFull(near, answer)
			check(err == nil && bytes.Equal(message, answer), "a wrong answer")
		}
		took := time.Since(start)
		<-done
		near.Close()
		far.Close()
		return took
	})
}
