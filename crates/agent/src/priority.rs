//! Staying out of the recorded program's way.

/// The nice value of a thread that gives way: with a tenth of the weight of an ordinary one, it still gets a tenth of a
/// processor that one other thread wants for itself.
const NICE: i32 = 10;

/// Makes the calling thread give way to others (setpriority(2)): under load the program's threads come first, and what
/// they wrote down waits. Where the kernel refuses, the thread stays as it is.
pub fn give_way() {
    // On Linux a nice value is a thread's, and no process id means the calling thread.
    let _ = rustix::process::setpriority_process(None, NICE);
}
