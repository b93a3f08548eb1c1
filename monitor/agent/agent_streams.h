#pragma once

#include <memory>

#include "monitor/agent/agent_session.h"
#include "monitor/agent/stream_link.h"

namespace drupe::agent {

std::unique_ptr<OutputStream> make_output_stream(StreamOwner& owner, uint32_t session,
                                                 protocol::Stream stream, uint64_t offset,
                                                 OutputSink& sink);
std::unique_ptr<InputStream> make_input_stream(StreamOwner& owner, uint32_t session,
                                               InputEvents events);

}  // namespace drupe::agent
