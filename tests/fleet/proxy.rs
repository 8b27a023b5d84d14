//! A proxy between a worker and its master that cuts, delays and silences.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// State of the network between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Every connection is closed, and none can be made.
    Cut,
    /// Nothing passes and nothing is closed, as when a cable is pulled.
    Silent,
    /// Nothing from the master comes through.
    Deaf,
    /// Nothing from the worker comes through.
    Mute,
    /// Everything comes late by so much.
    Late(Duration),
}

/// A proxy in front of a master's port.
pub struct Proxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Proxy {
    pub async fn before(master: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = watch::Sender::new(Mode::Pass);
        let state = mode.clone();
        tokio::spawn(async move {
            while let Ok((worker, _)) = listener.accept().await {
                if *state.borrow() == Mode::Cut {
                    continue;
                }
                tokio::spawn(join(worker, master, state.subscribe()));
            }
        });
        Self { address, mode }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn join(worker: TcpStream, master: SocketAddr, mode: watch::Receiver<Mode>) {
    let Ok(master) = TcpStream::connect(master).await else {
        return;
    };
    let (from_worker, to_worker) = worker.into_split();
    let (from_master, to_master) = master.into_split();
    let mut cut = mode.clone();
    tokio::select! {
        // either end that is closed closes both
        () = copy(from_worker, to_master, Way::Up, mode.clone()) => {}
        () = copy(from_master, to_worker, Way::Down, mode) => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut mode: watch::Receiver<Mode>,
) {
    let passes = |mode: &Mode| match mode {
        Mode::Silent => false,
        Mode::Deaf => way == Way::Up,
        Mode::Mute => way == Way::Down,
        Mode::Pass | Mode::Cut | Mode::Late(_) => true,
    };
    let (queue, mut chunks) = mpsc::channel(1024);
    let reading = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let chunk = (Instant::now(), buffer[..count].to_vec());
            if queue.send(chunk).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some((read_at, chunk)) = chunks.recv().await {
            let Ok(now) = mode.wait_for(passes).await.map(|mode| *mode) else {
                return;
            };
            if let Mode::Late(time) = now {
                tokio::time::sleep_until(read_at + time).await;
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // the end of a silenced connection is not seen either
        let _ = mode.wait_for(passes).await;
    };
    tokio::join!(reading, writing);
}
