//! The parts of Starling that read input from outside, without the rest of the program, which would
//! take minutes to instrument.

// not every function of them is called from here
#![allow(dead_code, unused_imports)]

#[path = "../../src"]
mod starling {
    pub mod plan;
    pub mod stats;

    pub mod engine {
        mod answer {
            pub(crate) mod capture;
        }

        mod protocol {
            pub(crate) mod received;

            pub(crate) mod http {
                pub(crate) mod response;
            }
        }

        use answer::capture::Wanted;
        use protocol::http::response::Response;
        use protocol::received::Received;

        use crate::plan::HeadLimits;

        /// Outcome of one response, as far as the pieces it came in must not matter.
        #[derive(Debug, PartialEq, Eq)]
        pub enum Read {
            Whole { status: u16, body: Vec<u8> },
            Unfinished,
            Malformed,
        }

        /// Reads `bytes` as they come in pieces of `piece` bytes.
        pub fn read(bytes: &[u8], to_head: bool, piece: usize) -> Read {
            let (mut response, mut answer) = (Response::default(), Received::default());
            response.begin(to_head, HeadLimits::default());
            answer.begin(Wanted {
                head: true,
                body: true,
                cookies: true,
                redirects: true,
                stream: false,
            });
            for piece in bytes.chunks(piece) {
                match response.feed(piece, &mut answer) {
                    Ok(false) => {}
                    Ok(true) => {
                        return Read::Whole {
                            status: answer.status,
                            body: answer.capture.body.clone(),
                        };
                    }
                    Err(_) => return Read::Malformed,
                }
            }
            // any meaning will do, as long as it does not panic
            let _ = response.end_of_stream(&answer);
            Read::Unfinished
        }
    }
}

pub use starling::{engine, plan, stats};
