//! A program under test without `libkoala.so`: it makes its socket calls itself and logs them as the library does.
//! And an agent, as the CLI runs it.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use koala_events::{Address, Arena, EventKind, Mode, Outcome, Record, Source, ThreadState, Writer};
use koala_session::cbor;
use koala_session::model::Session;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// A directory that goes away.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("koala-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running agent.
pub(crate) struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) ready: serde_json::Value,
    pub(crate) runtime_dir: PathBuf,
}

impl Agent {
    pub(crate) fn command(task: &str, option: &str, directory: &Path, runtime_dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_koala-agent"));
        command
            .args([task, option])
            .arg(directory)
            .arg("--runtime-dir")
            .arg(runtime_dir)
            .env("KOALA_INBOUND_ADDR", "127.0.0.1:0")
            .env("KOALA_OUTBOUND_ADDR", "127.0.0.1:0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    pub(crate) fn record(to: &Path, runtime_dir: &Path) -> Self {
        let mut command = Self::command("record", "--to", to, runtime_dir);
        command.args(["--command", "[\"fake\",\"program\"]"]);
        Self::start(command, runtime_dir)
    }

    pub(crate) fn replay(recording: &Path, runtime_dir: &Path) -> Self {
        Self::start(Self::command("replay", "--recording", recording, runtime_dir), runtime_dir)
    }

    pub(crate) fn start(mut command: Command, runtime_dir: &Path) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).expect("the ready line");
        assert_eq!(ready["Ready"], true);
        let stdin = child.stdin.take();
        Self { child, stdin, ready, runtime_dir: runtime_dir.to_owned() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks on the control socket; the status and the body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let stream = UnixStream::connect(self.runtime_dir.join("control.sock")).unwrap();
        ask(stream, "koala", method, path, "", body)
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let (code, body) = self.ask("GET", "/status", b"");
        assert_eq!(code, 200);
        serde_json::from_slice(&body).unwrap()
    }

    /// Waits until the status is as `wanted`.
    pub(crate) fn wait_status(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let started = Instant::now();
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{status}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn finish(mut self) -> serde_json::Value {
        let (code, body) = self.ask("POST", "/finish", b"");
        assert_eq!(code, 200);
        assert!(self.wait().success());
        assert!(!self.runtime_dir.join("control.sock").exists());
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) fn replay_session(&self, session: &Session) -> Result<Session, (u16, String)> {
        self.replay_session_within(session, "10s")
    }

    pub(crate) fn replay_session_within(
        &self,
        session: &Session,
        limit: &str,
    ) -> Result<Session, (u16, String)> {
        let mut bytes = Vec::new();
        cbor::encode(session, &mut bytes);
        match self.ask("POST", &format!("/cbor?timeout={limit}"), &bytes) {
            (200, body) => Ok(cbor::decode(&body).unwrap().0),
            (code, body) => Err((code, String::from_utf8(body).unwrap())),
        }
    }

    /// What the end of the CLI looks like.
    pub(crate) fn let_go(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "the agent does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP request on its own connection.
pub(crate) fn ask(
    mut stream: impl Read + Write,
    host: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> (u16, Vec<u8>) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
    let code = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (code, answer.split_off(end))
}

thread_local! {
    /// By the program: a test has several in one process.
    static THREADS: RefCell<HashMap<u64, &'static ThreadState>> = RefCell::default();
    static TID: Cell<u32> = const { Cell::new(0) };
    static END: RefCell<Option<ThreadEnd>> = const { RefCell::new(None) };
}

struct ThreadEnd(Arc<Program>);

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        self.0.append(EventKind::ThreadEnd, 0, -1, 0, b"");
        self.0.writer.end_thread(self.0.thread());
    }
}

fn tid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(100);
    TID.try_with(|tid| {
        if tid.get() == 0 {
            tid.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        tid.get()
    })
    .unwrap_or(1)
}

/// The process, as `libkoala.so` would see it.
pub(crate) struct Program {
    id: u64,
    writer: Writer,
    next_fd: AtomicU32,
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn address(address: SocketAddr) -> Address {
    match address {
        SocketAddr::V4(v4) => Address::V4(v4.ip().octets(), v4.port()),
        SocketAddr::V6(v6) => Address::V6(v6.ip().octets(), v6.port()),
    }
}

fn encoded(addresses: &[Address]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in addresses {
        let mut space = [0; Address::MAX];
        let length = address.encode(&mut space);
        bytes.extend_from_slice(&space[..length]);
    }
    bytes
}

/// Gets the log's descriptor and size from the agent, as `libkoala.so` does.
pub(crate) fn attach(runtime_dir: &Path) -> io::Result<(OwnedFd, usize, u64)> {
    let mut stream = UnixStream::connect(runtime_dir.join("attach.sock"))?;
    stream.write_all(b"KOALA\0\0\x02")?;
    stream.write_all(&std::process::id().to_le_bytes())?;
    stream.write_all(&[0; 4 + 32])?;
    let mut answer = [0; 24];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        &stream,
        &mut [io::IoSliceMut::new(&mut answer)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes != answer.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    assert_eq!(&answer[..8], b"KOALA\0\0\x02");
    let fd = control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .expect("a descriptor");
    let word = |at: usize| u64::from_le_bytes(answer[at..at + 8].try_into().unwrap());
    Ok((fd, word(8) as usize, word(16)))
}

impl Program {
    pub(crate) fn attach(runtime_dir: &Path) -> Arc<Self> {
        let (fd, size, number) = attach(runtime_dir).unwrap();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, never unmapped.
        let base = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), size, protection, MapFlags::SHARED, &fd, 0).unwrap()
        };
        // SAFETY: the agent formatted it, and it stays mapped.
        let arena = unsafe { Arena::open(base.cast(), size) }.unwrap();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let program = Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            writer: Writer::numbered(arena, std::process::id(), number),
            next_fd: AtomicU32::new(3),
        });
        program.append(EventKind::Process, 0, -1, 0, b"/usr/bin/fake");
        program
    }

    fn arena(&self) -> &Arena {
        self.writer.arena()
    }

    fn record(kind: EventKind, connection: u64, fd: i32, result: i64) -> Record {
        Record { kind, source: Source::Libc, flags: 0, context: 0, connection, fd, result, time: now() }
    }

    fn append(&self, kind: EventKind, connection: u64, fd: i32, result: i64, payload: &[u8]) {
        let record = Self::record(kind, connection, fd, result);
        let appended = self.writer.append(self.thread(), tid, &record, payload);
        assert!(appended || self.arena().is_closed(), "the log is full");
    }

    /// The calling thread's place in the log.
    fn thread(&self) -> &'static ThreadState {
        let new = || -> &'static ThreadState { Box::leak(Box::new(ThreadState::new())) };
        THREADS
            .try_with(|threads| *threads.borrow_mut().entry(self.id).or_insert_with(new))
            .unwrap_or_else(|_| new())
    }

    fn park(&self) {
        self.writer.park(self.thread());
    }

    fn fd(&self) -> i32 {
        self.next_fd.fetch_add(1, Ordering::Relaxed) as i32
    }

    /// A thread that tells of its end.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        run: impl FnOnce() + Send + 'static,
    ) -> std::thread::JoinHandle<()> {
        let program = self.clone();
        std::thread::spawn(move || {
            END.with(|end| *end.borrow_mut() = Some(ThreadEnd(program)));
            run();
            END.with(|end| drop(end.borrow_mut().take()));
        })
    }

    pub(crate) fn listen(&self, at: SocketAddr) -> TcpListener {
        let listener = TcpListener::bind(at).unwrap();
        let at = address(listener.local_addr().unwrap());
        self.arena().replay_table().listen(&at);
        self.append(EventKind::Listen, 0, self.fd(), 0, &encoded(&[at]));
        listener
    }

    pub(crate) fn accept(self: &Arc<Self>, listener: &TcpListener) -> Conn {
        self.park();
        let (stream, peer) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let id = self.arena().next_connection();
        let fd = self.fd();
        let ends = [address(stream.local_addr().unwrap()), address(peer)];
        self.append(EventKind::Accept, id, fd, 0, &encoded(&ends));
        Conn { program: self.clone(), stream, id, fd, inbound: true }
    }

    pub(crate) fn connect(self: &Arc<Self>, peer: SocketAddr) -> io::Result<Conn> {
        let id = self.arena().next_connection();
        let fd = self.fd();
        let asked = address(peer);
        let connected = if self.arena().mode() == Mode::Replay {
            let table = self.arena().replay_table();
            match table.outcome(&asked, 111) {
                Outcome::Bypass => TcpStream::connect(peer),
                Outcome::Refuse(errno) => Err(io::Error::from_raw_os_error(errno)),
                Outcome::Redirect => TcpStream::connect(("127.0.0.1", table.outbound_port_v4())),
            }
        } else {
            TcpStream::connect(peer)
        };
        match connected {
            Ok(stream) => {
                stream.set_nodelay(true).unwrap();
                let ends = [address(stream.local_addr().unwrap()), asked];
                self.append(EventKind::Connect, id, fd, 0, &encoded(&ends));
                Ok(Conn { program: self.clone(), stream, id, fd, inbound: false })
            }
            Err(error) => {
                let errno = i64::from(error.raw_os_error().unwrap());
                self.append(EventKind::Connect, id, fd, -errno, &encoded(&[Address::None, asked]));
                Err(error)
            }
        }
    }
}

/// A connection of the program.
pub(crate) struct Conn {
    program: Arc<Program>,
    stream: TcpStream,
    id: u64,
    fd: i32,
    inbound: bool,
}

impl Conn {
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let writer = &self.program.writer;
        for piece in bytes.chunks(writer.max_payload()) {
            let record = Program::record(EventKind::Send, self.id, self.fd, 0);
            let Some(mut pending) = writer.begin(self.program.thread(), tid, &record, piece.len()) else {
                assert!(self.program.arena().is_closed(), "the log is full");
                return (&self.stream).write_all(piece);
            };
            // SAFETY: the record has room for the piece.
            unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), pending.payload(), piece.len()) };
            pending.intend(piece.len());
            match (&self.stream).write_all(piece) {
                Ok(()) => pending.commit(piece.len() as i64, piece.len()),
                Err(error) => {
                    pending.commit(-i64::from(error.raw_os_error().unwrap_or(5)), 0);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.inbound {
            self.program.park();
        }
        match (&self.stream).read(buffer) {
            Ok(count) => {
                self.program.append(EventKind::Receive, self.id, self.fd, count as i64, &buffer[..count]);
                Ok(count)
            }
            Err(error) => {
                let errno = -i64::from(error.raw_os_error().unwrap_or(5));
                self.program.append(EventKind::Receive, self.id, self.fd, errno, b"");
                Err(error)
            }
        }
    }

    /// Receives until `whole` says that it is enough; what came, which is less at the end of the stream.
    pub(crate) fn receive_until(&self, whole: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        while !whole(&received) {
            match self.receive(&mut buffer)? {
                0 => break,
                count => received.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(received)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.program.append(EventKind::Close, self.id, self.fd, 0, b"");
        let _ = self.stream.as_raw_fd();
    }
}

/// A server that the program asks, which counts its answers.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) answers: Arc<AtomicU64>,
    stop: Arc<Mutex<bool>>,
}

impl Upstream {
    /// `answer` gets the bytes of a request, by `frame`'s judgement, and the number of the answer.
    pub(crate) fn start(
        greeting: &'static [u8],
        frame: fn(&[u8]) -> Option<usize>,
        answer: fn(&[u8], u64) -> Vec<u8>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(Mutex::new(false));
        let (count, stopped) = (answers.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if *stopped.lock().unwrap() {
                    return;
                }
                let mut stream = stream.unwrap();
                let count = count.clone();
                std::thread::spawn(move || {
                    let _ = stream.write_all(greeting);
                    let mut pending = Vec::new();
                    let mut buffer = [0; 4096];
                    while let Ok(read @ 1..) = stream.read(&mut buffer) {
                        pending.extend_from_slice(&buffer[..read]);
                        while let Some(length) = frame(&pending) {
                            let request: Vec<u8> = pending.drain(..length).collect();
                            let number = count.fetch_add(1, Ordering::Relaxed);
                            let answer = answer(&request, number);
                            if answer.is_empty() || stream.write_all(&answer).is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { address, answers, stop }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        *self.stop.lock().unwrap() = true;
        let _ = TcpStream::connect(self.address);
    }
}

/// All sessions of a recording.
pub(crate) fn sessions(recording: &Path) -> Vec<Session> {
    let mut sessions = Vec::new();
    let warnings = koala_agent::recording::Recording::open(recording)
        .unwrap()
        .read(|_, session| sessions.push(session))
        .unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    sessions
}
