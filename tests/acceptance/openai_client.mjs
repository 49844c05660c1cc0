// The official `openai` package for JavaScript against a gateway; prints what it saw as one line of JSON.
//   node openai_client.mjs BASE_URL KEY SCENARIO
import OpenAI from "openai";

const [baseURL, apiKey, scenario] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });
const messages = [{ role: "user", content: "Hi" }];
const model = "hermes-agent";

const weather = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

const scenarios = {
  async chat() {
    const { data, response } = await client.chat.completions.create({ model, messages }).withResponse();
    const choice = data.choices[0];
    return {
      text: choice.message.content,
      finish: choice.finish_reason,
      tokens: data.usage.total_tokens,
      session: Boolean(response.headers.get("x-hermes-session-id")),
    };
  },

  async stream() {
    const stream = await client.chat.completions.create({
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage = null;
    const tools = [];
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      if (chunk.toolCallId && chunk.status) tools.push([chunk.tool, chunk.status]);
      if (chunk.choices.length === 0) usage = chunk.usage.total_tokens;
    }
    return { text, usage: usage > 0, tools };
  },

  async helper() {
    const stream = client.chat.completions.stream({ model, messages });
    const final = await stream.finalChatCompletion();
    return { text: final.choices[0].message.content, finish: final.choices[0].finish_reason };
  },

  async approval() {
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    let text = "";
    const asked = [];
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      if (chunk.approval_id && chunk.command) {
        asked.push(chunk.command);
        await client.post(`/runs/${chunk.run_id}/approval`, { body: { choice: "once" } });
      }
    }
    return { text, asked };
  },

  async clientTools() {
    const asked = [];
    const runner = client.chat.completions.runTools({
      model,
      messages,
      tools: [
        {
          ...weather,
          function: {
            ...weather.function,
            parse: JSON.parse,
            function: ({ city }) => {
              asked.push(city);
              return "sunny";
            },
          },
        },
      ],
    });
    return { text: await runner.finalContent(), asked };
  },

  async models() {
    const ids = [];
    for await (const one of client.models.list()) ids.push(one.id);
    return { ids, one: (await client.models.retrieve(ids[0])).id };
  },

  async errors() {
    const seen = {};
    const look = async (name, ask) => {
      try {
        await ask();
        seen[name] = "no error";
      } catch (error) {
        seen[name] = [error.constructor.name, error.status ?? null, error.code ?? null];
      }
    };
    await look("400", () => client.chat.completions.create({ model, messages: [] }));
    await look("401", () => client.withOptions({ apiKey: "wrong" }).models.list());
    await look("404", () => client.models.retrieve("gpt-x"));
    await look("upstream 429", () => client.chat.completions.create({ model, messages }));
    await look("upstream 401", () => client.chat.completions.create({ model, messages }));
    await look("stream", async () => {
      const stream = await client.chat.completions.create({ model, messages, stream: true });
      for await (const _ of stream);
    });
    return seen;
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
