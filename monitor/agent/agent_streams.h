#pragma once

#include <memory>

#include "monitor/agent/agent_session.h"
#include "monitor/agent/stream_link.h"

namespace drupe::agent {

std::unique_ptr<OutputStream> make_output_stream(StreamOwner& owner, uint32_t session,
                                                 protocol::Stream stream, uint64_t offset,
                                                 OutputSink& sink);
/// taken_over: another host has written to it before; it goes on where the guest says.
std::unique_ptr<InputStream> make_input_stream(StreamOwner& owner, uint32_t session,
                                               bool taken_over, InputEvents events);

}  // namespace drupe::agent
