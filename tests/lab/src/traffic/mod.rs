//! Builds frames, sends floods of them, and captures and dissects packets.

mod advert_tap;
pub mod capture;
pub mod flood;
pub mod frames;
pub mod junk;
pub mod packet_socket;

pub use advert_tap::{AdvertTap, Advertiser};
