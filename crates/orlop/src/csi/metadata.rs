//! The `SnapshotMetadata` service: which ranges of a snapshot hold data, and which differ between two snapshots, so that a
//! backup reads only those. The ranges are read and sent a few thousand at a time, whatever the size of the volume.

use orlop_api::Bytes;
use orlop_volume::{Extent, Snapshot};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{Driver, status::Refusal, wire::signed};
use crate::rpc::csi_v1::{
    BlockMetadata, BlockMetadataType, GetMetadataAllocatedRequest, GetMetadataAllocatedResponse,
    GetMetadataDeltaRequest, GetMetadataDeltaResponse, snapshot_metadata_server::SnapshotMetadata,
};

/// How many ranges a message has at most, where the caller leaves it to the driver: some 20 bytes each.
const RANGES_MAX: usize = 4096;

/// How many messages wait for a slow caller before no further ones are read.
const OUTGOING: usize = 2;

#[tonic::async_trait]
impl SnapshotMetadata for Driver {
    async fn get_metadata_allocated(
        &self,
        request: Request<GetMetadataAllocatedRequest>,
    ) -> Result<Response<BoxStream<GetMetadataAllocatedResponse>>, Status> {
        let request = request.into_inner();
        let id = request.snapshot_id.clone();
        let begin = move |driver: &Self| {
            let id = driver.snapshot_id("snapshot_id", &request.snapshot_id)?;
            let part = Part::read(request.starting_offset, request.max_results)?;
            part.of(&driver.volumes.get_snapshot(&id)?).map(|stream| (id, stream))
        };
        let (id, part) = self.ask("GetMetadataAllocated", &id, begin).await?.into_inner();
        let volumes = self.volumes.clone();
        let ranges = part.stream(move |from, count| volumes.allocated(&id, from, count));
        let responses = ranges.map(move |ranges| {
            ranges.map(|block_metadata| GetMetadataAllocatedResponse {
                block_metadata_type: BlockMetadataType::VariableLength.into(),
                volume_capacity_bytes: signed(part.capacity),
                block_metadata,
            })
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn get_metadata_delta(
        &self,
        request: Request<GetMetadataDeltaRequest>,
    ) -> Result<Response<BoxStream<GetMetadataDeltaResponse>>, Status> {
        let request = request.into_inner();
        let id = request.target_snapshot_id.clone();
        let begin = move |driver: &Self| {
            let base = driver.snapshot_id("base_snapshot_id", &request.base_snapshot_id)?;
            let target = driver.snapshot_id("target_snapshot_id", &request.target_snapshot_id)?;
            let part = Part::read(request.starting_offset, request.max_results)?;
            let snapshot = driver.volumes.get_snapshot(&target)?;
            if driver.volumes.get_snapshot(&base)?.volume != snapshot.volume {
                return Err(orlop_volume::Error::Unrelated(base, target).into());
            }
            part.of(&snapshot).map(|stream| (base, target, stream))
        };
        let (base, target, part) = self.ask("GetMetadataDelta", &id, begin).await?.into_inner();
        let volumes = self.volumes.clone();
        let ranges = part.stream(move |from, count| volumes.changed(&base, &target, from, count));
        let responses = ranges.map(move |ranges| {
            ranges.map(|block_metadata| GetMetadataDeltaResponse {
                block_metadata_type: BlockMetadataType::VariableLength.into(),
                volume_capacity_bytes: signed(part.capacity),
                block_metadata,
            })
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// What part of a snapshot is asked about.
#[derive(Clone, Copy)]
struct Part {
    /// From this byte on.
    from: u64,
    /// How many ranges a message may have.
    count: usize,
    /// The snapshot's size.
    capacity: Bytes,
}

impl Part {
    fn read(starting_offset: i64, max_results: i32) -> Result<Self, Refusal> {
        let from = u64::try_from(starting_offset)
            .map_err(|_| Refusal::OutOfRange("`starting_offset` is negative: start with 0".into()))?;
        let count = match usize::try_from(max_results) {
            Ok(0) => RANGES_MAX,
            Ok(count) => count.min(RANGES_MAX),
            Err(_) => return Err(Refusal::Invalid("`max_results` is negative".into())),
        };
        Ok(Self { from, count, capacity: Bytes(0) })
    }

    /// The part of that snapshot. Its very end is a part too: the one that is left after the last range.
    fn of(self, snapshot: &Snapshot) -> Result<Self, Refusal> {
        if self.from > snapshot.size.0 {
            return Err(Refusal::OutOfRange(format!(
                "`starting_offset` is {}, and snapshot {} ends at {}: start before that",
                self.from, snapshot.id, snapshot.size.0
            )));
        }
        Ok(Self { capacity: snapshot.size, ..self })
    }

    /// The ranges that `read` finds, message by message. There is always one message, because the capacity is in it.
    fn stream(
        self,
        read: impl Fn(u64, usize) -> orlop_volume::Result<Vec<Extent>> + Send + 'static,
    ) -> ReceiverStream<Result<Vec<BlockMetadata>, Status>> {
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        let capacity = self.capacity.0;
        tokio::task::spawn_blocking(move || {
            let mut from = self.from;
            loop {
                let ranges = read(from, self.count).map_err(|error| Status::from(Refusal::from(error)));
                let last = match &ranges {
                    Ok(ranges) => ranges.last().map(|range| range.offset + range.length),
                    Err(_) => None,
                };
                let ends = ranges.as_ref().map_or(true, |ranges| ranges.len() < self.count);
                let message = ranges.map(|ranges| ranges.into_iter().map(range).collect());
                // Nobody listens any more when this fails.
                if outgoing.blocking_send(message).is_err() || ends {
                    return;
                }
                match last {
                    Some(end) if end < capacity => from = end,
                    _ => return,
                }
            }
        });
        ReceiverStream::new(messages)
    }
}

fn range(extent: Extent) -> BlockMetadata {
    BlockMetadata { byte_offset: signed(Bytes(extent.offset)), size_bytes: signed(Bytes(extent.length)) }
}

#[cfg(test)]
mod tests;
